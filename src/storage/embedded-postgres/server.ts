import { chownSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { EmbeddedPostgresError } from "./error.ts";
import type { User } from "./identity.ts";
import type { Log } from "./log.ts";
import { isReady } from "./postmaster.ts";
import type { Supervised } from "./supervise.ts";

/** Milliseconds until it is ready: after a crash it first reads up to a gigabyte of its own log. */
const START_LIMIT = 300_000;
/** Milliseconds until the backends of a server that was killed have noticed. */
const BACKENDS_LIMIT = 5_000;
/** A socket's path has 104 bytes on macOS, 108 on Linux; "/.s.PGSQL.5432" and a NUL take 15 of them. */
const LONGEST_SOCKET_FOLDER = 88;

/** Starts the server of a cluster that has none, and waits until it accepts connections. */
export async function startServer(launch: () => Supervised, cluster: string, log: Log): Promise<Supervised> {
  const deadline = Date.now() + BACKENDS_LIMIT;
  for (;;) {
    await using attempt = new AsyncDisposableStack();
    const server = attempt.use(launch());
    if (await becomesReady(server, cluster)) {
      attempt.move();
      return server;
    }
    if (!log.text().includes("shared memory block") || Date.now() > deadline) {
      throw new EmbeddedPostgresError(
        `PostgreSQL did not start on ${cluster}: ${log.reason()}. Mend that and start again, or set DATABASE_URL to a PostgreSQL of your own`,
      );
    }
    await sleep(200);
  }
}

async function becomesReady(server: Supervised, cluster: string): Promise<boolean> {
  const deadline = Date.now() + START_LIMIT;
  let running = true;
  void server.ended.then(() => {
    running = false;
  });
  while (running && Date.now() < deadline) {
    if (isReady(cluster)) return true;
    await sleep(20);
  }
  return false;
}

/**
 * Makes the folder of the socket: in the given one, or a temporary one if that path is too long for a socket.
 * @param user whose it is to be, if not this process's
 */
export function makeSocketFolder(
  folder: string,
  user: User | undefined,
): { path: string; temporary: boolean } {
  let path = join(folder, "socket");
  const temporary = Buffer.byteLength(path) > LONGEST_SOCKET_FOLDER;
  if (temporary) {
    path = mkdtempSync(join(tmpdir(), "latchkey-"));
  } else {
    // A server that was killed leaves its socket, and a lock with a number that may be a stranger's by now.
    rmSync(path, { recursive: true, force: true });
    mkdirSync(path, { mode: 0o700 });
  }
  if (user !== undefined) chownSync(path, user.uid, user.gid);
  return { path, temporary };
}

/** The options of `postgres` for a server beside one process. The last word on a setting counts. */
export function serverOptions(
  cluster: string,
  socketFolder: string,
  durable: boolean,
  settings: Readonly<Record<string, string>>,
): string[] {
  const all = [
    ["max_connections", "100"],
    ["shared_buffers", "64MB"],
    ["timezone", "UTC"],
    ["log_timezone", "UTC"],
    // What a client is told it need not log, and nothing else comes often: the log stays small.
    ["log_min_messages", "log"],
    ["log_checkpoints", "off"],
    ...(durable ? [] : ["fsync", "synchronous_commit", "full_page_writes"].map((name) => [name, "off"])),
    ...Object.entries(settings),
    ["listen_addresses", ""],
    ["port", "5432"],
    ["unix_socket_permissions", "0700"],
    // A list, in which quotes keep a comma or a space in the path.
    ["unix_socket_directories", `"${socketFolder.replaceAll('"', '""')}"`],
  ];
  return ["-D", cluster, ...all.flatMap(([name, value]) => ["-c", `${name}=${value}`])];
}
