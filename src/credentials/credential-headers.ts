import { AuthError } from "../errors.ts";
import { isUuid } from "../uuid.ts";

/** One header field as it was received. */
export interface HeaderField {
  readonly name: string;
  readonly value: string;
}

/** What the headers say about the caller. */
export interface PresentedCredential {
  readonly kind: "api_key" | "bearer" | "service_key";
  /** The text of the credential: visible ASCII without spaces and commas, or empty. */
  readonly text: string;
}

export interface CredentialHeaders {
  readonly credential: PresentedCredential | undefined;
  /** What `X-Org-Id` says; empty where it is absent. */
  readonly organizationId: string;
  /** Names to remove before the request is forwarded, in lower case. */
  readonly strip: readonly string[];
}

const MOST_HEADERS = 256;
const MOST_BYTES = 48 * 1024;

const AUTHORIZATION = "authorization";
const ORGANIZATION = "x-org-id";
const KEY_HEADERS = { "x-api-key": "api_key", "x-internal-key": "service_key" } as const;
const GUARDED = new Set([AUTHORIZATION, ORGANIZATION, ...Object.keys(KEY_HEADERS)]);

/** Headers of this prefix carry an identity from an edge to the service behind it. */
const IDENTITY_PREFIX = "x-latchkey-";
const ALWAYS_STRIPPED = [...Object.keys(KEY_HEADERS), ORGANIZATION];

/** RFC 9110 section 5.6.2; with the colon that begins an HTTP/2 pseudo-header. */
const NAME = /^:?[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** RFC 9110 section 11.4, with schemes as the registry has them. */
const AUTHORIZATION_VALUE = /^([A-Za-z][A-Za-z0-9-]*)(?:[ \t]+([^ \t].*))?$/;
const TOKEN68 = /^[A-Za-z0-9._~+/-]+=*$/;
const PARAMETER = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+[ \t]*=/;
/**
 * Finds the one credential in the raw headers of a request. Names are compared without regard to case,
 * values to the byte. Whatever can be read in two ways is refused, never resolved:
 *
 * - a credential header that occurs twice, or two kinds together (RFC 6750 section 3.1, RFC 9110
 *   section 5.3), also where an edge has joined them with a comma: CREDENTIALS_AMBIGUOUS
 * - a name that a server which folds `_` and `.` into `-` would take for a credential header:
 *   CREDENTIAL_HEADER_ALIAS
 * - a character in a credential that is not visible ASCII: CREDENTIAL_MALFORMED
 * - a `Connection` header that names one of them: CREDENTIALS_AMBIGUOUS
 *
 * `Authorization` of another scheme than Bearer is not a credential of ours and is left alone.
 */
export function readCredentialHeaders(headers: readonly HeaderField[]): CredentialHeaders {
  refuseTooLarge(headers);
  if (!headers.every(({ name }) => NAME.test(name))) {
    throw new AuthError("HEADER_NAME_INVALID");
  }
  const names = headers.map(({ name }) => name.toLowerCase());
  if (names.some((name) => !GUARDED.has(name) && GUARDED.has(fold(name)))) {
    throw new AuthError("CREDENTIAL_HEADER_ALIAS");
  }
  const twice = new Set(names.filter((name, at) => GUARDED.has(name) && names.indexOf(name) !== at));
  if (twice.size > 0) {
    throw new AuthError(
      twice.size === 1 && twice.has(ORGANIZATION) ? "ORGANIZATION_AMBIGUOUS" : "CREDENTIALS_AMBIGUOUS",
    );
  }
  // What a connection's own options name is gone behind the next hop (RFC 9110 section 7.6.1).
  const options = headers
    .filter((_, at) => names[at] === "connection")
    .flatMap(({ value }) => value.toLowerCase().split(",").map(trimSpace));
  if (options.some((option) => GUARDED.has(option) || fold(option).startsWith(IDENTITY_PREFIX))) {
    throw new AuthError("CREDENTIALS_AMBIGUOUS");
  }
  const guarded = new Map(
    headers.map(({ value }, at) => [names[at] ?? "", value] as const).filter(([name]) => GUARDED.has(name)),
  );
  const strip = new Set([
    ...ALWAYS_STRIPPED,
    ...names.filter((name) => fold(name).startsWith(IDENTITY_PREFIX)),
  ]);

  const presented: PresentedCredential[] = [];
  for (const [name, kind] of Object.entries(KEY_HEADERS)) {
    const value = guarded.get(name);
    if (value !== undefined) {
      presented.push({ kind, text: readCredential(value) });
    }
  }
  const token = readBearer(guarded.get(AUTHORIZATION));
  if (token !== undefined) {
    presented.push({ kind: "bearer", text: token });
    strip.add(AUTHORIZATION);
  }
  if (presented.length > 1) {
    throw new AuthError("CREDENTIALS_AMBIGUOUS");
  }
  return {
    credential: presented[0],
    organizationId: readOrganizationId(guarded.get(ORGANIZATION)),
    strip: [...strip].sort(),
  };
}

/** A name as a server has it that takes `_` and `.` for `-`. */
function fold(name: string): string {
  return name.replace(/[^a-z0-9]/g, "-");
}

function refuseTooLarge(headers: readonly HeaderField[]): void {
  let bytes = 0;
  for (const { name, value } of headers) {
    bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  }
  if (headers.length > MOST_HEADERS || bytes > MOST_BYTES) {
    throw new AuthError("HEADERS_TOO_LARGE");
  }
}

/**
 * The token of `Bearer <token>` (RFC 6750 section 2.1); undefined for another scheme, and for none. What is
 * no scheme with a token or parameters at all (RFC 9110 section 11.4), such as `Bearer=…` or a bare token,
 * is refused: somebody else may take it for a credential.
 */
function readBearer(value: string | undefined): string | undefined {
  if (value === undefined) {
    return undefined;
  }
  refuseControls(value);
  // Two fields that an edge has joined, of which any is ours (RFC 9110 section 5.3).
  if (value.includes(",") && /(^|,)[ \t]*bearer([ \t,]|$)/i.test(value)) {
    throw new AuthError("CREDENTIALS_AMBIGUOUS");
  }
  const trimmed = trimSpace(value);
  if (trimmed === "") {
    return undefined;
  }
  const [, scheme, rest = ""] = AUTHORIZATION_VALUE.exec(trimmed) ?? [];
  if (scheme === undefined || !(rest === "" || TOKEN68.test(rest) || PARAMETER.test(rest))) {
    throw new AuthError("CREDENTIAL_MALFORMED");
  }
  return scheme.toLowerCase() === "bearer" ? readCredential(rest) : undefined;
}

function readCredential(value: string): string {
  refuseControls(value);
  const text = trimSpace(value);
  if (text.includes(",")) {
    throw new AuthError("CREDENTIALS_AMBIGUOUS");
  }
  if (!/^[\x21-\x7e]*$/.test(text)) {
    throw new AuthError("CREDENTIAL_MALFORMED");
  }
  return text;
}

/** Before anything is trimmed: CR, LF and NUL are not whitespace here (RFC 9110 section 5.5). */
function refuseControls(value: string): void {
  if (!/^[\t\x20-\x7e]*$/.test(value)) {
    throw new AuthError("CREDENTIAL_MALFORMED");
  }
}

/**
 * Optional whitespace around a field value is not part of it (RFC 9110 section 5.5). Loops, since a
 * regular expression for the end takes time that grows with the square of the value.
 */
function trimSpace(value: string): string {
  let start = 0;
  let end = value.length;
  while (start < end && isSpace(value.charCodeAt(start))) {
    start++;
  }
  while (end > start && isSpace(value.charCodeAt(end - 1))) {
    end--;
  }
  return value.slice(start, end);
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

function readOrganizationId(value: string | undefined): string {
  if (value === undefined) {
    return "";
  }
  const id = trimSpace(value).toLowerCase();
  if (id.includes(",")) {
    throw new AuthError("ORGANIZATION_AMBIGUOUS");
  }
  if (!isUuid(id)) {
    throw new AuthError("ORGANIZATION_ID_INVALID");
  }
  return id;
}
