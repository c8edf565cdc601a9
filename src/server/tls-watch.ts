import { isDeepStrictEqual } from "node:util";
import { checkTls, outOfTime, readPem, type Tls } from "./tls-files.ts";

export interface TlsWatch {
  /** Looks now. Resolves when that is done. */
  look(): Promise<void>;
  stop(): void;
}

export interface TlsNews {
  /** The files hold something else, and it is good. */
  readonly onRenewed: (tls: Tls) => void;
  /** They hold something bad, which is not taken up, or the certificate's time is over. Told once. */
  readonly onFault: (fault: unknown) => void;
}

const DEFAULT_POLL_MS = 3_000;

/**
 * Looks at the files again and again. Their bytes are compared, not their times, and nothing is watched:
 * that works for renamed files, for links that are swapped (Kubernetes) and for every file system.
 */
export function watchTls(first: Tls, { onRenewed, onFault }: TlsNews): TlsWatch {
  const { settings } = first;
  let current = first;
  let told: string | undefined;
  let stopped = false;

  function tell(fault: unknown): void {
    const message = fault instanceof Error ? fault.message : String(fault);
    if (message === told) return;
    told = message;
    onFault(fault);
  }

  async function lookOnce(): Promise<void> {
    try {
      const pem = await readPem(settings, current.pem);
      if (stopped) return;
      if (!isDeepStrictEqual(pem, current.pem)) {
        const next = checkTls(settings, pem);
        onRenewed(next);
        current = next;
      }
    } catch (fault) {
      // The next look sees the rest of a file that is being written, or the key that belongs to it.
      if (!stopped) tell(fault);
      return;
    }
    const fault = outOfTime(current);
    if (fault === undefined) told = undefined;
    else tell(fault);
  }

  let timer: NodeJS.Timeout | undefined;
  let looking = Promise.resolve();
  const look = () => {
    looking = looking.then(lookOnce);
    return looking;
  };
  const poll = async (): Promise<void> => {
    await look();
    if (!stopped) timer = setTimeout(() => void poll(), settings.pollMs ?? DEFAULT_POLL_MS).unref();
  };
  void poll();
  return {
    look,
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
