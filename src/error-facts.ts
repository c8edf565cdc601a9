import { type AuthError, FAULTS, type Reason } from "./errors.ts";

/** Of one entry, in characters: an answer is not to outgrow its request. */
const MOST_METADATA = 1024;

/** As `google.rpc.Code` numbers them, which is also how gRPC does. */
const CODES = {
  invalid_argument: 3,
  not_found: 5,
  already_exists: 6,
  permission_denied: 7,
  resource_exhausted: 8,
  failed_precondition: 9,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const satisfies Record<AuthError["code"], number>;

/** What callers see of an error, by whichever way they are told. */
export interface ErrorFacts {
  readonly code: (typeof CODES)[AuthError["code"]];
  readonly reason: Reason;
  readonly message: string;
  readonly metadata: Record<string, string>;
  /** How long to wait, in milliseconds. Undefined: waiting does not help, or is up to the client. */
  readonly retryAfterMillis: number | undefined;
}

export function errorFacts({ code, reason, message, metadata, retryAfterMillis }: AuthError): ErrorFacts {
  return { code: CODES[code], reason, message, metadata: cut(metadata), retryAfterMillis };
}

/** Whether it is a fault of ours, rather than a refusal. */
export function isFault({ reason }: AuthError): boolean {
  return FAULTS.has(reason);
}

function cut(metadata: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(metadata).map(([name, value]) => [name, value.slice(0, MOST_METADATA)]),
  );
}
