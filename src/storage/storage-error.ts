/**
 * SQLSTATE classes and codes that speak of the database's state rather than of our statement:
 * connection, lack of resources, operator intervention and time-outs, a standby, serialization.
 */
const PASSING_STATES = /^(08...|53...|57...|58...|25006|40001|40P01|55P03)$/;
const NETWORK_CODES = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOENT",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EPIPE",
  "ETIMEDOUT",
]);
/** What `pg` says without a code. */
const DRIVER_MESSAGES =
  /^(Connection terminated|timeout exceeded when trying to connect|timeout expired|Query read timeout|Client has encountered a connection error|Cannot use a pool after calling end)/;

/** Whether the database could not be asked, so that the same call may succeed later. */
export function isStorageFault(error: unknown): boolean {
  for (const cause of causes(error)) {
    const code = "code" in cause ? String(cause.code) : "";
    if (PASSING_STATES.test(code) || NETWORK_CODES.has(code) || DRIVER_MESSAGES.test(cause.message)) {
      return true;
    }
  }
  return false;
}

/** Whether the server itself has said no to what it was asked: then it has done nothing of it. */
export function isRefusal(error: unknown): boolean {
  const states = causes(error).filter((cause) => "code" in cause && /^[0-9A-Z]{5}$/.test(String(cause.code)));
  return states.length > 0 && !isStorageFault(error);
}

/** Whether a unique constraint or index of this name refused a row. */
export function violates(error: unknown, constraint: string): boolean {
  return causes(error).some((cause) => "constraint" in cause && cause.constraint === constraint);
}

/**
 * What went wrong first: of what the ORM throws, the server's own error, without the statement and the values
 * that the ORM repeats around it.
 */
export function rootCause(error: unknown): unknown {
  return causes(error).at(-1) ?? error;
}

function causes(error: unknown): Error[] {
  const chain: Error[] = [];
  // Several addresses of one host make one AggregateError, whose own message is empty.
  const inner = (outer: Error) => (outer instanceof AggregateError ? outer.errors[0] : outer.cause);
  for (let at = error; at instanceof Error && chain.length < 8; at = inner(at)) {
    chain.push(at);
  }
  return chain;
}
