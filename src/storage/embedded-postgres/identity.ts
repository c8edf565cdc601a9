import { spawnSync } from "node:child_process";
import { statSync } from "node:fs";
import { chmod, chown, lchown, readdir } from "node:fs/promises";
import { join } from "node:path";
import { EmbeddedPostgresError } from "./error.ts";

export interface User {
  readonly uid: number;
  readonly gid: number;
}

/** How PostgreSQL's programs are run, which refuse root and (initdb) a user who has no name. */
export interface Identity {
  /** Goes before the program. */
  readonly prefix: readonly string[];
  /** Whom to become; undefined: nobody else. */
  readonly user: User | undefined;
}

// The one user besides root whom every system names.
const NOBODY: User = { uid: 65534, gid: 65534 };
/** In a user namespace of its own a process is called nobody there, and remains who it is to the files. */
const NAMED_NOBODY = ["unshare", "--user", `--map-user=${NOBODY.uid}`, `--map-group=${NOBODY.gid}`];
/** The kernel ends PostgreSQL should its watchdog be killed too (killall -9 node). A bonus, only on Linux. */
const DIES_WITH_WATCHDOG = ["setpriv", "--pdeathsig", "INT"];

/**
 * Root becomes the owner of the files. Where that is root again, or where the user has no name, PostgreSQL
 * runs in a user namespace; where the system refuses those, root gives the folder to nobody.
 * @param cluster whose owner counts; before it is made, the folder's
 */
export async function chooseIdentity(folder: string, cluster: string): Promise<Identity> {
  const me = process.geteuid?.() ?? 0;
  const owner = statSync(cluster, { throwIfNoEntry: false }) ?? statSync(folder);
  const user = me === 0 && owner.uid !== 0 ? { uid: owner.uid, gid: owner.gid } : undefined;
  const uid = user?.uid ?? me;

  if (uid !== 0 && hasName(uid)) return { user, prefix: runs(DIES_WITH_WATCHDOG, user) };
  for (const prefix of [[...NAMED_NOBODY, ...DIES_WITH_WATCHDOG], NAMED_NOBODY]) {
    if (runs(prefix, user).length > 0) return { user, prefix };
  }
  if (uid !== 0) {
    throw new EmbeddedPostgresError(
      `PostgreSQL does not run as user ${uid}, who has no name: add one to /etc/passwd, or set DATABASE_URL to a PostgreSQL of your own`,
    );
  }
  await give(folder, NOBODY);
  return { user: NOBODY, prefix: runs(DIES_WITH_WATCHDOG, NOBODY) };
}

function hasName(uid: number): boolean {
  return spawnSync("id", ["-nu", String(uid)], { stdio: "ignore" }).status === 0;
}

/** The prefix if it works here, else none. */
function runs(prefix: readonly string[], user: User | undefined): readonly string[] {
  const [program = "", ...args] = prefix;
  return spawnSync(program, [...args, "true"], { stdio: "ignore", ...user }).status === 0 ? prefix : [];
}

/** Bottom up: a folder that has its new owner is done, should this be interrupted. */
async function give(folder: string, user: User): Promise<void> {
  // Before all else, so that nobody can put a link in the way of what follows.
  await chmod(folder, 0o700);
  for (const name of (await readdir(folder, { recursive: true })).reverse()) {
    await lchown(join(folder, name), user.uid, user.gid);
  }
  await chown(folder, user.uid, user.gid);
}
