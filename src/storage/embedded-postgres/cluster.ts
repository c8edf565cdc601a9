import { readFileSync, statSync } from "node:fs";
import { chmod, open, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { EmbeddedPostgresError } from "./error.ts";
import type { Log } from "./log.ts";
import type { Supervised } from "./supervise.ts";

const MAJOR_VERSION = "18";
/** What may be in a folder that has no cluster yet: what is ours, and what a new volume has. */
const EXPECTED = [
  "cluster.new",
  "lib",
  "lock",
  "lock.pid",
  "lost+found",
  "postgres.log",
  "postgres.log.old",
  "socket",
];

export const clusterIn = (folder: string): string => join(folder, "cluster");

export function hasCluster(folder: string): boolean {
  return statSync(clusterIn(folder), { throwIfNoEntry: false }) !== undefined;
}

/** Refuses a folder that somebody uses for something else. */
export async function refuseForeignFolder(folder: string): Promise<void> {
  const foreign = (await readdir(folder)).find((name) => !EXPECTED.includes(name));
  if (foreign === undefined || hasCluster(folder)) return;
  throw new EmbeddedPostgresError(
    `The folder ${folder} holds something else (${foreign}): choose one that is empty or absent`,
  );
}

export function refuseOtherVersion(folder: string): void {
  const version = readFileSync(join(clusterIn(folder), "PG_VERSION"), "utf8").trim();
  if (version === MAJOR_VERSION) return;
  throw new EmbeddedPostgresError(
    `The database in ${folder} was made by PostgreSQL ${version}, and this is PostgreSQL ${MAJOR_VERSION}: dump it with the version that made it and restore it into a new folder`,
  );
}

/**
 * Makes the cluster, all or nothing: initdb works in a folder beside it, which gets its name when it is whole.
 * That one too is inside the given folder, which may be a mount, and its parent not ours to write to.
 * @param initdb starts the program
 */
export async function makeCluster(
  folder: string,
  durable: boolean,
  initdb: (options: readonly string[]) => Supervised,
  log: Log,
): Promise<void> {
  const fresh = `${clusterIn(folder)}.new`;
  await rm(fresh, { recursive: true, force: true });
  // As initdb does with a folder that is there. A volume may be root's and lent to our group: then it stays.
  await chmod(folder, 0o700).catch(() => {});
  await using running = initdb([
    `--pgdata=${fresh}`,
    "--username=postgres",
    "--encoding=UTF8",
    // The same order of text on every system, whatever its libraries.
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--data-checksums",
    // Only the socket leads to it, in a folder that is this user's alone.
    "--auth-local=trust",
    "--auth-host=reject",
    "--no-instructions",
    ...(durable ? [] : ["--no-sync"]),
  ]);
  if ((await running.ended) !== 0) {
    await rm(fresh, { recursive: true, force: true });
    throw new EmbeddedPostgresError(
      `PostgreSQL could not make its database in ${folder}: ${log.reason()}. Mend that, choose another folder, or set DATABASE_URL to a PostgreSQL of your own`,
    );
  }
  await rename(fresh, clusterIn(folder));
  await using handle = await open(folder);
  if (durable) await handle.sync();
}
