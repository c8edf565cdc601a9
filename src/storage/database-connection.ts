import { userInfo } from "node:os";
import type { ClientConfig } from "pg";
import { parseIntoClientConfig } from "pg-connection-string";

/** Where the database is: what `pg` and the ORM both take. */
export type DatabaseConnection = ClientConfig & { readonly database: string };

/**
 * Reads a `postgres://…` URL.
 *
 * @throws Error where it is none, or names no database. The message does not repeat the URL: it may hold
 * a password.
 */
export function parseDatabaseUrl(url: string): DatabaseConnection {
  if (!/^postgres(ql)?:\/\//.test(url)) {
    throw new Error("must begin with postgres://");
  }
  let parsed: ClientConfig;
  try {
    parsed = parseIntoClientConfig(url);
  } catch {
    throw new Error("is not a URL");
  }
  if (!parsed.database) {
    throw new Error("names no database");
  }
  // Spelt out, since `pg` and the ORM have different defaults.
  return { ...parsed, user: parsed.user ?? userInfo().username, database: parsed.database };
}
