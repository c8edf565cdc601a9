import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";

/** A server that speaks as much of PostgreSQL's protocol (version 3) as the start of a process needs. */
export interface FakePostgres {
  readonly port: number;
  /** Every statement that it was sent. */
  readonly statements: string[];
}

export interface FakePostgresOptions {
  /** What `server_version_num` is, such as 140000. */
  readonly version?: number;
  /** Says no to every password, as PostgreSQL does. */
  readonly refusesPasswords?: boolean;
  /** Accepts connections and never says anything. */
  readonly isMute?: boolean;
}

/** AuthenticationCleartextPassword. */
const ASK_PASSWORD = message("R", int32(3));

/** The types of the columns that it is asked for. */
const INT4 = 23;
const BOOL = 16;
const INT8 = 20;

export async function startFakePostgres(
  stack: AsyncDisposableStack,
  options: FakePostgresOptions,
): Promise<FakePostgres> {
  const statements: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    if (options.isMute) {
      socket.resume();
    } else {
      serve(socket, options, statements);
    }
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  stack.defer(async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) {
      socket.destroy();
    }
    await closed;
  });
  return { port: (server.address() as AddressInfo).port, statements };
}

function serve(
  socket: Socket,
  { version = 180_000, refusesPasswords = false }: FakePostgresOptions,
  statements: string[],
): void {
  const columns: [string, number, string][] = [
    ["version", INT4, String(version)],
    ["marked", BOOL, "f"],
    ["tables", INT8, "0"],
  ];
  const ready = message("Z", "I");
  const greeting = Buffer.concat([
    message("R", int32(0)),
    message("S", "server_version\0", `${version / 10_000}\0`),
    message("K", int32(1), int32(2)),
    ready,
  ]);
  const rows = Buffer.concat([
    message(
      "T",
      int16(columns.length),
      ...columns.flatMap(([name, type]) => [
        `${name}\0`,
        int32(0),
        int16(0),
        int32(type),
        int16(-1),
        int32(-1),
        int16(0),
      ]),
    ),
    message("D", int16(columns.length), ...columns.flatMap(([, , value]) => [int32(value.length), value])),
    message("C", "SELECT 1\0"),
  ]);

  let waiting = Buffer.alloc(0);
  let hasStarted = false;
  socket.on("data", (bytes: Buffer) => {
    waiting = Buffer.concat([waiting, bytes]);
    for (;;) {
      // The first message of a connection has no type.
      const offset = hasStarted ? 1 : 0;
      const length =
        waiting.length < offset + 4 ? Number.POSITIVE_INFINITY : waiting.readInt32BE(offset) + offset;
      if (waiting.length < length) {
        return;
      }
      const type = hasStarted ? String.fromCharCode(waiting[0] ?? 0) : "start";
      const body = waiting.subarray(offset + 4, length);
      waiting = waiting.subarray(length);
      hasStarted = true;
      const { bytes: reply, isLast = false } = answer(type, body);
      socket.write(reply);
      if (isLast) {
        socket.end();
      }
    }
  });

  function answer(type: string, body: Buffer): { readonly bytes: Buffer; readonly isLast?: boolean } {
    switch (type) {
      case "start":
        return { bytes: refusesPasswords ? ASK_PASSWORD : greeting };
      case "p": {
        const fields = ["SFATAL", "C28P01", 'Mpassword authentication failed for user "app"'];
        return { bytes: message("E", ...fields.map((field) => `${field}\0`), "\0"), isLast: true };
      }
      case "Q":
        statements.push(body.toString());
        return { bytes: Buffer.concat([rows, ready]) };
      case "P":
        statements.push(body.toString());
        return { bytes: message("1") };
      case "B":
        return { bytes: message("2") };
      case "D":
        return { bytes: message("n") };
      case "E":
        return { bytes: message("C", "SELECT 1\0") };
      case "S":
        return { bytes: ready };
      default:
        return { bytes: Buffer.alloc(0), isLast: type === "X" };
    }
  }
}

function message(type: string, ...parts: (string | Buffer)[]): Buffer {
  const body = Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part) : part)));
  return Buffer.concat([Buffer.from(type), int32(body.length + 4), body]);
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}
