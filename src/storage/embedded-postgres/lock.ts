import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { EmbeddedPostgresError } from "./error.ts";

/** Milliseconds that the last holder, told to end a moment ago, may need for it. */
const HOLDER_LIMIT = 2_000;

// Garbage collection would close a lock that nobody refers to, while its server still runs.
const held = new Set<DatabaseSync>();

/**
 * Makes this process the only one that uses a folder. The kernel holds the lock (SQLite's, the one way Node
 * has to lock a file) and lets go of it however the process ends: it is never stale. Unlike the number in
 * `postmaster.pid`, it also counts between containers that share a volume.
 */
export async function lockFolder(folder: string): Promise<Disposable> {
  const holder = join(folder, "lock.pid");
  const lock = await take(join(folder, "lock"), Date.now() + HOLDER_LIMIT);
  if (lock === undefined) {
    throw new EmbeddedPostgresError(
      `The database in ${folder} is in use by ${nameOf(holder)}: stop that first, or choose another folder`,
    );
  }
  held.add(lock);
  const release = () => {
    rmSync(holder, { force: true });
    held.delete(lock);
    lock.close();
  };
  try {
    writeFileSync(holder, String(process.pid));
  } catch (error) {
    release();
    throw error;
  }
  return { [Symbol.dispose]: release };
}

async function take(path: string, deadline: number): Promise<DatabaseSync | undefined> {
  for (;;) {
    const lock = new DatabaseSync(path);
    try {
      // It lasts until it is closed. Nothing is ever written, so it needs no journal beside it.
      lock.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
      return lock;
    } catch (error) {
      lock.close();
      if (!isBusy(error)) throw error;
      if (Date.now() > deadline) return undefined;
    }
    await sleep(50);
  }
}

function isBusy(error: unknown): boolean {
  const SQLITE_BUSY = 5;
  return error instanceof Error && "errcode" in error && error.errcode === SQLITE_BUSY;
}

function nameOf(holder: string): string {
  try {
    return `process ${readFileSync(holder, "utf8")}`;
  } catch {
    // It has only just taken the lock.
    return "another process";
  }
}
