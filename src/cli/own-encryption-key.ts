import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { CommandError } from "./command-error.ts";
import { writePrivateFile } from "./private-file.ts";

const FILE = "encryption.key";

/** What to say where the database's secrets were encrypted under another key. */
export function lostEncryptionKey(directory: string): CommandError {
  return new CommandError(
    `${join(directory, FILE)} is not the key that this database's secrets were encrypted under; put the right one back, or remove the data directory to start anew`,
  );
}

/** The encryption key that development keeps in its data directory, made the first time. */
export async function ownEncryptionKey(directory: string): Promise<Buffer> {
  const path = join(directory, FILE);
  const kept = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") {
      return undefined;
    }
    throw new CommandError(`${path} cannot be read: ${error.message}`);
  });
  if (kept !== undefined) {
    const key = Buffer.from(kept.trim(), "base64");
    if (key.length !== 32) {
      throw new CommandError(`${path} does not hold a key; remove the data directory to start anew`);
    }
    return key;
  }
  const key = randomBytes(32);
  await writePrivateFile(path, `${key.toString("base64")}\n`);
  return key;
}
