import { type Config, SETTINGS, set } from "../config.ts";
import { CommandError } from "./command-error.ts";
import { devCredentialsPath, readDevCredentials } from "./dev-credentials.ts";
import { readTextFile } from "./read-input.ts";

/** Whom a command acts as, and where. */
export interface Identity {
  readonly url: string;
  /** The header that carries the credential. */
  readonly headers: Readonly<Record<string, string>>;
  /** The organization that goes with it, where nobody has named one. */
  readonly organizationId?: string;
  /** To be told, since nobody asked for this one. */
  readonly note?: string;
}

export interface CredentialOptions {
  /** What was given as `--url`. */
  readonly url?: string;
  /** What was given as `--credential-file`; `-` is standard input. */
  readonly credentialFile?: string;
}

/**
 * The credential to act with: from the file, else from the environment, else the internal key that `npm start`
 * has made, where that is about the service in question. A credential never comes by an argument: those are
 * seen by everybody on the machine.
 *
 * @throws CommandError where what was given is none.
 */
export async function readIdentity(options: CredentialOptions, config: Config): Promise<Identity> {
  const url = options.url ?? set(config.url);
  if (options.credentialFile !== undefined) {
    return { url, headers: headersOf(await readCredentialFile(options.credentialFile)) };
  }
  if (config.credential !== undefined) {
    return { url, headers: headersOf(config.credential) };
  }
  const isUrlGiven = options.url !== undefined || process.env[SETTINGS.url.variable] !== undefined;
  const path = devCredentialsPath(set(config.dataDirectory));
  const dev = await readDevCredentials(path);
  if (dev === undefined || (isUrlGiven && dev.url !== url)) {
    return { url, headers: {} };
  }
  return {
    url: dev.url,
    headers: headersOf(dev.internalKey),
    organizationId: dev.organizationId,
    note: `with the internal key of ${path}, at ${dev.url}`,
  };
}

/** Each kind of credential has its header, and is told by how it begins. */
export function headersOf(credential: string): Record<string, string> {
  if (credential.startsWith("sk_")) {
    return { "x-internal-key": credential };
  }
  return /^eyJ[\w-]*\.[\w-]+\.[\w-]*$/.test(credential)
    ? { authorization: `Bearer ${credential}` }
    : { "x-api-key": credential };
}

async function readCredentialFile(path: string): Promise<string> {
  const content = await readTextFile(path);
  try {
    return SETTINGS.credential.parse(content.trim());
  } catch (error) {
    const where = path === "-" ? "standard input" : path;
    throw new CommandError(
      `the credential in ${where} ${error instanceof Error ? error.message : "is none"}`,
    );
  }
}
