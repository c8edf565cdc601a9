import assert from "node:assert/strict";
import { once } from "node:events";

/** Another process of Node, asked by its inspector (https://chromedevtools.github.io/devtools-protocol/v8/). */
export interface Inspector {
  /** Collects its garbage. @returns the bytes that its objects then take. */
  liveHeap(): Promise<number>;
  close(): void;
}

/** @param said what a process that was started with `--inspect` says on standard error. */
export async function inspect(said: string): Promise<Inspector> {
  const [url] = /ws:\/\/\S+/.exec(said) ?? assert.fail(`no inspector: ${said}`);
  const socket = new WebSocket(url);
  await once(socket, "open");
  let last = 0;
  const ask = (method: string) => {
    const id = ++last;
    const { promise, resolve, reject } = Promise.withResolvers<Record<string, number>>();
    const closed = () => reject(new Error(`the inspector hung up on ${method}`));
    const read = ({ data }: MessageEvent) => {
      const answer = JSON.parse(String(data)) as { id?: number; result?: Record<string, number> };
      if (answer.id === id) {
        resolve(answer.result ?? {});
      }
    };
    socket.addEventListener("message", read);
    socket.addEventListener("close", closed);
    socket.send(JSON.stringify({ id, method }));
    return promise.finally(() => {
      socket.removeEventListener("message", read);
      socket.removeEventListener("close", closed);
    });
  };
  return {
    async liveHeap() {
      await ask("HeapProfiler.collectGarbage");
      const { usedSize = Number.NaN } = await ask("Runtime.getHeapUsage");
      return usedSize;
    },
    close: () => socket.close(),
  };
}
