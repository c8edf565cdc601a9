import { ConfigError } from "../config.ts";
import { AuthError } from "../errors.ts";
import { describeError, redact } from "../server/log.ts";
import { TlsFilesError } from "../server/tls-files.ts";
import { EmbeddedPostgresError } from "../storage/embedded-postgres/error.ts";
import { DatabaseUnusable } from "../storage/migrate.ts";
import { SealBroken } from "../storage/seal.ts";
import { BootstrapRefused } from "../users/bootstrap.ts";

const LISTEN_FAULTS: Readonly<Record<string, string>> = {
  EADDRINUSE: "is in use: stop what listens there, or set LATCHKEY_PORT to another",
  EACCES: "needs rights that this user lacks: set LATCHKEY_PORT to 1024 or more",
  EADDRNOTAVAIL: "is no address of this machine: set LATCHKEY_HOST to one",
  ENOTFOUND: "is no host that is known: set LATCHKEY_HOST to one",
};

/** One line for each fault, saying what is wrong and what to do; a stack only for what nobody foresaw. */
export function explainFailure(error: unknown): string[] {
  if (error instanceof ConfigError) {
    return [...error.faults];
  }
  if (error instanceof SealBroken) {
    return ["LATCHKEY_ENCRYPTION_KEY is not the key that this database's secrets were encrypted under"];
  }
  if (
    error instanceof BootstrapRefused ||
    error instanceof DatabaseUnusable ||
    error instanceof EmbeddedPostgresError ||
    error instanceof TlsFilesError ||
    error instanceof AuthError
  ) {
    return [redact(error.message)];
  }
  if (error instanceof Error && "syscall" in error && "code" in error) {
    const fault = LISTEN_FAULTS[String(error.code)];
    if (fault !== undefined && /^(listen|getaddrinfo|bind)/.test(String(error.syscall))) {
      const { address, hostname, port } = error as { address?: string; hostname?: string; port?: number };
      return [`${[address ?? hostname, port].filter(Boolean).join(":")} ${fault}`];
    }
  }
  const { message, stack } = describeError(error);
  return [`an unforeseen fault: ${message}`, ...String(stack ?? "").split("\n")];
}
