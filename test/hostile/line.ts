import { once } from "node:events";
import { connect } from "node:net";

/** A connection of somebody who does not mind how it ends. */
export interface Line {
  /** Whether the other side has ended it. */
  readonly isClosed: boolean;
  /** Whether what comes is taken. */
  reads: boolean;
  /** Sends, and waits while the other side takes nothing. */
  send(bytes: Buffer | string): Promise<void>;
}

/** @returns undefined where nobody answers. */
export async function dial(port: number): Promise<Line | undefined> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  socket.on("error", () => {});
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  socket.resume();
  await Promise.race([once(socket, "connect").catch(() => {}), closed]);
  if (socket.destroyed) {
    return undefined;
  }
  return {
    get isClosed() {
      return socket.destroyed;
    },
    get reads() {
      return !socket.isPaused();
    },
    set reads(does) {
      if (does) socket.resume();
      else socket.pause();
    },
    async send(bytes) {
      if (bytes.length > 0 && !socket.destroyed && !socket.write(bytes)) {
        await Promise.race([once(socket, "drain").catch(() => {}), closed]);
      }
    },
  };
}
