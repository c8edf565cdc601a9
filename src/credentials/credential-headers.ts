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
  /**
   * Names to remove before the request is forwarded, in lower case. Where no header carries an identity, it is one of
   * two arrays, always the same objects.
   */
  readonly strip: readonly string[];
}

const MOST_HEADERS = 256;
const MOST_BYTES = 48 * 1024;
/** In UTF-8, of one code unit of UTF-16. */
const MOST_BYTES_OF_A_UNIT = 3;

const AUTHORIZATION = "authorization";
const API_KEY = "x-api-key";
const SERVICE_KEY = "x-internal-key";
const ORGANIZATION = "x-org-id";
const CONNECTION = "connection";
const GUARDED = new Set([AUTHORIZATION, API_KEY, SERVICE_KEY, ORGANIZATION]);

/** Headers of this prefix carry an identity from an edge to the service behind it. */
const IDENTITY_PREFIX = "x-latchkey-";

const STRIP = Object.freeze([API_KEY, SERVICE_KEY, ORGANIZATION]);
const STRIP_WITH_TOKEN = Object.freeze([AUTHORIZATION, ...STRIP]);

/** By ASCII code, whether it may stand in a name (RFC 9110 section 5.6.2). */
const IS_TOKEN = Uint8Array.from({ length: 128 }, (_, code) =>
  Number(/[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(String.fromCharCode(code))),
);
const COLON = 0x3a;
/** Makes ASCII letters lower-case. */
const LOWER = 0x20;
const LETTER = { a: 0x61, c: 0x63, i: 0x69, l: 0x6c, o: 0x6f, x: 0x78 } as const;

/** RFC 9110 section 11.4, with schemes as the registry has them. */
const AUTHORIZATION_VALUE = /^([A-Za-z][A-Za-z0-9-]*)(?:[ \t]+([^ \t].*))?$/;
const TOKEN68 = /^[A-Za-z0-9._~+/-]+=*$/;
const PARAMETER = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+[ \t]*=/;
/** Anything but the characters of a token68, which may end in others. */
const NOT_TOKEN68 = /[^A-Za-z0-9._~+/-]/;
/** Anything that is in no credential of ours. */
const NOT_CREDENTIAL = /[^\x21-\x2b\x2d-\x7e]/;
const BEARER = "bearer ";

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
  if (headers.length > MOST_HEADERS) {
    throw new AuthError("HEADERS_TOO_LARGE");
  }
  let units = 0;
  let authorization: string | undefined;
  let apiKey: string | undefined;
  let serviceKey: string | undefined;
  let organization: string | undefined;
  let isNamedBadly = false;
  let hasAlias = false;
  let hasCredentialTwice = false;
  let hasOrganizationTwice = false;
  let dropsGuarded = false;
  let identities: string[] | undefined;

  // One pass, since every call comes by here. What is told first does not depend on what stands first.
  for (const { name, value } of headers) {
    units += name.length + value.length;
    if (units > MOST_BYTES) {
      throw new AuthError("HEADERS_TOO_LARGE");
    }
    if (!isFieldName(name)) {
      isNamedBadly = true;
      continue;
    }
    if (!mayMatter(name)) {
      continue;
    }
    const lower = name.toLowerCase();
    switch (lower) {
      case AUTHORIZATION:
        hasCredentialTwice ||= authorization !== undefined;
        authorization = value;
        break;
      case API_KEY:
        hasCredentialTwice ||= apiKey !== undefined;
        apiKey = value;
        break;
      case SERVICE_KEY:
        hasCredentialTwice ||= serviceKey !== undefined;
        serviceKey = value;
        break;
      case ORGANIZATION:
        hasOrganizationTwice ||= organization !== undefined;
        organization = value;
        break;
      case CONNECTION:
        dropsGuarded ||= namesGuarded(value);
        break;
      default: {
        const folded = fold(lower);
        hasAlias ||= GUARDED.has(folded);
        if (folded.startsWith(IDENTITY_PREFIX)) {
          identities ??= [];
          identities.push(lower);
        }
      }
    }
  }

  if (units * MOST_BYTES_OF_A_UNIT > MOST_BYTES && bytesOf(headers) > MOST_BYTES) {
    throw new AuthError("HEADERS_TOO_LARGE");
  }
  if (isNamedBadly) {
    throw new AuthError("HEADER_NAME_INVALID");
  }
  if (hasAlias) {
    throw new AuthError("CREDENTIAL_HEADER_ALIAS");
  }
  if (hasOrganizationTwice && !hasCredentialTwice) {
    throw new AuthError("ORGANIZATION_AMBIGUOUS");
  }
  if (hasCredentialTwice || dropsGuarded) {
    throw new AuthError("CREDENTIALS_AMBIGUOUS");
  }
  const key = apiKey === undefined ? undefined : readCredential(apiKey);
  const internal = serviceKey === undefined ? undefined : readCredential(serviceKey);
  const token = authorization === undefined ? undefined : readBearer(authorization);
  return {
    credential: onlyOne(key, internal, token),
    organizationId: organization === undefined ? "" : readOrganizationId(organization),
    strip: stripOf(token !== undefined, identities),
  };
}

function onlyOne(
  key: string | undefined,
  internal: string | undefined,
  token: string | undefined,
): PresentedCredential | undefined {
  if (key !== undefined) {
    return alone({ kind: "api_key", text: key }, internal ?? token);
  }
  if (internal !== undefined) {
    return alone({ kind: "service_key", text: internal }, token);
  }
  return token === undefined ? undefined : { kind: "bearer", text: token };
}

function alone(presented: PresentedCredential, other: string | undefined): PresentedCredential {
  if (other !== undefined) {
    throw new AuthError("CREDENTIALS_AMBIGUOUS");
  }
  return presented;
}

function stripOf(hasToken: boolean, identities: readonly string[] | undefined): readonly string[] {
  const strip = hasToken ? STRIP_WITH_TOKEN : STRIP;
  return identities === undefined ? strip : [...new Set([...strip, ...identities])].sort();
}

/** Whether it is a name of HTTP (RFC 9110 section 5.1), or one of HTTP/2 that begins with a colon. */
function isFieldName(name: string): boolean {
  const start = name.charCodeAt(0) === COLON ? 1 : 0;
  for (let at = start; at < name.length; at++) {
    if (IS_TOKEN[name.charCodeAt(at)] !== 1) {
      return false;
    }
  }
  return name.length > start;
}

/** False of most names: of those that are none which matters, nor folded into one. */
function mayMatter(name: string): boolean {
  switch (name.charCodeAt(0) | LOWER) {
    case LETTER.a:
      return name.length === AUTHORIZATION.length;
    case LETTER.c:
      return name.length === CONNECTION.length;
    case LETTER.x:
      return mayMatterOfX(name);
    default:
      return false;
  }
}

/** Of those that begin with an X: a mark follows, and then what they differ in. */
function mayMatterOfX(name: string): boolean {
  switch (name.charCodeAt(2) | LOWER) {
    case LETTER.a:
      return name.length === API_KEY.length;
    case LETTER.i:
      return name.length === SERVICE_KEY.length;
    case LETTER.o:
      return name.length === ORGANIZATION.length;
    case LETTER.l:
      return name.length >= IDENTITY_PREFIX.length;
    default:
      return false;
  }
}

/**
 * Whether `Connection` names one of the headers that matter: what a connection's own options name is gone behind
 * the next hop (RFC 9110 section 7.6.1).
 */
function namesGuarded(value: string): boolean {
  const options = value.toLowerCase().split(",").map(trimSpace);
  return options.some((option) => GUARDED.has(option) || fold(option).startsWith(IDENTITY_PREFIX));
}

/** A name as a server has it that takes `_` and `.` for `-`. */
function fold(name: string): string {
  return name.replace(/[^a-z0-9]/g, "-");
}

function bytesOf(headers: readonly HeaderField[]): number {
  let bytes = 0;
  for (const { name, value } of headers) {
    bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  }
  return bytes;
}

/**
 * The token of `Bearer <token>` (RFC 6750 section 2.1); undefined for another scheme, and for none. What is
 * no scheme with a token or parameters at all (RFC 9110 section 11.4), such as `Bearer=…` or a bare token,
 * is refused: somebody else may take it for a credential.
 */
function readBearer(value: string): string | undefined {
  return plainBearer(value) ?? readAuthorization(value);
}

/** What is written as nearly everybody writes it; undefined where a closer look is needed. */
function plainBearer(value: string): string | undefined {
  if (value.length <= BEARER.length || value.slice(0, BEARER.length).toLowerCase() !== BEARER) {
    return undefined;
  }
  const token = value.slice(BEARER.length);
  return NOT_TOKEN68.test(token) ? undefined : token;
}

function readAuthorization(value: string): string | undefined {
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
  if (!NOT_CREDENTIAL.test(value)) {
    return value;
  }
  refuseControls(value);
  const text = trimSpace(value);
  if (text.includes(",")) {
    throw new AuthError("CREDENTIALS_AMBIGUOUS");
  }
  if (NOT_CREDENTIAL.test(text)) {
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

function readOrganizationId(value: string): string {
  const id = trimSpace(value).toLowerCase();
  if (id.includes(",")) {
    throw new AuthError("ORGANIZATION_AMBIGUOUS");
  }
  if (!isUuid(id)) {
    throw new AuthError("ORGANIZATION_ID_INVALID");
  }
  return id;
}
