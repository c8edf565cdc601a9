import { randomUUID } from "node:crypto";
import { open, rename } from "node:fs/promises";
import { CommandError } from "./command-error.ts";

/** Writes a file that only its owner can read: all of it or nothing, also where the power fails. */
export async function writePrivateFile(path: string, content: string): Promise<void> {
  try {
    await replace(path, content);
  } catch (error) {
    throw new CommandError(`${path} cannot be written: ${error instanceof Error ? error.message : error}`);
  }
}

async function replace(path: string, content: string): Promise<void> {
  const draft = `${path}.${randomUUID()}`;
  // It must not be there yet: what somebody else has put there may lead elsewhere, or be open to others.
  const file = await open(draft, "wx", 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(draft, path);
}
