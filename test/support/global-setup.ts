import { rm } from "node:fs/promises";
import { prepareCluster, stopCluster } from "./cluster.ts";

let folder: string | undefined;

/** One PostgreSQL for all test files, which find it by the environment that they inherit. */
export async function globalSetup(): Promise<void> {
  folder = await prepareCluster();
}

export async function globalTeardown(): Promise<void> {
  await stopCluster();
  if (folder !== undefined) {
    await rm(folder, { recursive: true, force: true });
  }
}
