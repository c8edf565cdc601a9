import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { CommandError } from "./command-error.ts";

/** What `dev.json` holds. */
export interface DevCredentials {
  readonly url: string;
  readonly organizationId: string;
  readonly email: string;
  readonly password: string;
  readonly apiKey: string;
  readonly internalKey: string;
}

/** Where `npm start` keeps the credentials of its first start, in its data directory. */
export function devCredentialsPath(directory: string): string {
  return join(directory, "dev.json");
}

/**
 * @returns undefined where there is no such file.
 * @throws CommandError where it cannot be read, or does not hold what was written there.
 */
export async function readDevCredentials(path: string): Promise<DevCredentials | undefined> {
  let content: string;
  try {
    content = await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") {
      return undefined;
    }
    throw new CommandError(`${path} cannot be read: ${error instanceof Error ? error.message : error}`);
  }
  try {
    const { url, organizationId, email, password, apiKey, internalKey } = JSON.parse(content);
    const values = { url, organizationId, email, password, apiKey, internalKey };
    if (Object.values(values).every((value) => typeof value === "string")) {
      return values;
    }
  } catch {
    // Told below, like any other content that is not ours.
  }
  throw new CommandError(`${path} does not hold what was written there; remove it to have new credentials`);
}
