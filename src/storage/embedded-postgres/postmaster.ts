import { spawnSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { EmbeddedPostgresError } from "./error.ts";

/** Whether the cluster's server says that it accepts connections. */
export function isReady(cluster: string): boolean {
  return readPostmasterFile(cluster)[7]?.trim() === "ready";
}

/**
 * Waits until no server runs on the cluster, then removes the `postmaster.pid` of one that was killed:
 * PostgreSQL would not start as long as any process has that number, be it a zombie or a stranger. Should its
 * backends have outlived it, PostgreSQL's own lock in shared memory still keeps a second server out.
 */
export async function untilNoPostmaster(cluster: string, milliseconds: number): Promise<void> {
  const deadline = Date.now() + milliseconds;
  for (let pid = postmasterOf(cluster); pid !== undefined; pid = postmasterOf(cluster)) {
    if (Date.now() > deadline) {
      throw new EmbeddedPostgresError(
        `A PostgreSQL that was left behind (process ${pid}) still runs on ${cluster}: end it with kill -INT ${pid}, then start again`,
      );
    }
    await sleep(50);
  }
  await rm(join(cluster, "postmaster.pid"), { force: true });
}

/** Ends a server whose watchdog was killed. To be called by its owner only. */
export async function endOrphan(cluster: string): Promise<void> {
  const pid = postmasterOf(cluster);
  if (pid === undefined) return;
  process.kill(pid, "SIGINT");
  await untilNoPostmaster(cluster, 5_000);
}

/** The server that runs on the cluster, of which there is none only if that is certain. */
function postmasterOf(cluster: string): number | undefined {
  // A single-user server writes its number negated.
  const pid = Math.abs(Number.parseInt(readPostmasterFile(cluster)[0] ?? "", 10));
  return pid > 0 && isPostmaster(pid, cluster) ? pid : undefined;
}

/** Its lines are told in PostgreSQL's pidfile.h. */
function readPostmasterFile(cluster: string): string[] {
  try {
    return readFileSync(join(cluster, "postmaster.pid"), "utf8").split("\n");
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function isPostmaster(pid: number, cluster: string): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    // It is gone, or another user's: this cluster's server is one that we may signal.
    return false;
  }
  if (process.platform !== "linux") {
    const ps = spawnSync("ps", ["-p", String(pid), "-o", "command="], { encoding: "utf8" });
    return ps.error !== undefined || ps.stdout.includes("postgres");
  }
  try {
    // A server works in its cluster's folder from before it writes postmaster.pid to its end.
    const here = statSync(`/proc/${pid}/cwd`);
    const there = statSync(cluster);
    return here.dev === there.dev && here.ino === there.ino;
  } catch (error) {
    // Missing: gone by now, or a zombie.
    return !isMissing(error);
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}
