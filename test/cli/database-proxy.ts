import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket, connect as toSocket } from "node:net";
import { join } from "node:path";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";

/** Something between a service and its database that can be taken away, or be made to say nothing. */
export interface DatabaseProxy {
  /** For DATABASE_URL. The database asks for no password; this one is there to be looked for in the output. */
  readonly url: string;
  readonly password: string;
  /** Breaks every connection and refuses new ones. */
  cut(): Promise<void>;
  /** Takes connections again, on the same port. */
  restore(): Promise<void>;
  /** From now on nothing passes, in either direction: connections stay open, new ones are accepted. */
  freeze(): void;
  /** What was held up passes, and what comes after it. */
  thaw(): void;
  /** How many connections have been accepted so far. */
  readonly accepted: number;
}

export async function startProxy(
  stack: AsyncDisposableStack,
  database: DatabaseConnection,
  options: {
    /** How many connections pass; those after them are accepted and hear nothing. */ readonly passing?: number;
  } = {},
): Promise<DatabaseProxy> {
  const { passing = Number.POSITIVE_INFINITY } = options;
  const password = "canary-database-password";
  const pairs = new Set<readonly [Socket, Socket]>();
  let isFrozen = false;
  let accepted = 0;

  const accept = (near: Socket) => {
    accepted++;
    const far = toSocket(join(database.host ?? "", ".s.PGSQL.5432"));
    const pair = [near, far] as const;
    pairs.add(pair);
    for (const [from, to] of [[near, far] as const, [far, near] as const]) {
      from.on("data", (bytes) => to.write(bytes));
      from.on("end", () => to.end());
      from.on("error", () => {});
      from.on("close", () => {
        to.destroy();
        pairs.delete(pair);
      });
    }
    if (isFrozen || accepted > passing) {
      near.pause();
      far.pause();
    }
  };

  let server: Server | undefined;
  const listen = async (port: number) => {
    server = createServer(accept).listen(port, "127.0.0.1");
    await once(server, "listening");
    return (server.address() as AddressInfo).port;
  };
  const cut = async () => {
    const closed = new Promise((resolve) => server?.close(resolve));
    for (const socket of [...pairs].flat()) {
      socket.destroy();
    }
    await closed;
  };
  const port = await listen(0);
  stack.defer(cut);
  return {
    url: `postgres://postgres:${password}@127.0.0.1:${port}/${database.database}`,
    password,
    cut,
    restore: async () => {
      await listen(port);
    },
    freeze() {
      isFrozen = true;
      for (const socket of [...pairs].flat()) {
        socket.pause();
      }
    },
    thaw() {
      isFrozen = false;
      for (const socket of [...pairs].flat()) {
        socket.resume();
      }
    },
    get accepted() {
      return accepted;
    },
  };
}
