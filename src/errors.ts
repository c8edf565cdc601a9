/**
 * Every refusal and fault that a caller can meet: a stable reason, the gRPC code that it is answered
 * with, a message that says what to do, and an example of what brings it about. `docs/errors.md` is made
 * from this table, and `proto/latchkey/v1/reason.proto` publishes the same names.
 */
export const REASONS = {
  REQUEST_INVALID: {
    code: "invalid_argument",
    message: "The request breaks a rule of its message: see the violations.",
    meaning: "The request breaks a rule that stands beside a field, or two fields contradict each other.",
    example: "`page_size: 300`",
  },
  HEADERS_TOO_LARGE: {
    code: "invalid_argument",
    message: "Send at most 256 headers and 48 KiB of names and values.",
    meaning: "The headers to decide about are more than 256, or more than 48 KiB.",
    example: "300 headers",
  },
  HEADER_NAME_INVALID: {
    code: "invalid_argument",
    message: "A header name is not a token of HTTP (RFC 9110 section 5.1).",
    meaning: "A header name is not a token (RFC 9110 section 5.1).",
    example: "`X API Key: …`",
  },
  CREDENTIAL_HEADER_ALIAS: {
    code: "invalid_argument",
    message: "A header's name could be read as the name of a credential header. Send the exact name only.",
    meaning: "A header's name could be taken for that of a credential header by a server that folds names.",
    example: "`X_API_Key: …`",
  },
  CREDENTIALS_AMBIGUOUS: {
    code: "invalid_argument",
    message: "Send exactly one credential, in exactly one header.",
    meaning:
      "A credential header occurs twice, or two kinds of credential came together (RFC 6750 section 3.1).",
    example: "`X-API-Key: …` and `Authorization: Bearer …`",
  },
  CREDENTIAL_MALFORMED: {
    code: "invalid_argument",
    message: "A credential header holds characters that no credential has.",
    meaning: "A credential header holds a control character, a space or a character beyond ASCII.",
    example: "`X-API-Key: ak_…\\r\\n`",
  },
  ORGANIZATION_AMBIGUOUS: {
    code: "invalid_argument",
    message: "Name one organization: in X-Org-Id or in the request, or the same in both.",
    meaning: "`X-Org-Id` occurs twice, or it and the request name different organizations.",
    example: "`X-Org-Id: A` and `organization_id: B`",
  },
  ORGANIZATION_ID_INVALID: {
    code: "invalid_argument",
    message: "An organization is named by its id, a UUID.",
    meaning: "`X-Org-Id`, or the organization that a call names, is not a UUID.",
    example: "`X-Org-Id: acme`",
  },
  ORGANIZATION_REQUIRED: {
    code: "invalid_argument",
    message: "Name the organization: in organization_id, or for an internal key in X-Org-Id.",
    meaning: "The call is about one organization, and none was named.",
    example: "an internal key that lists API keys without `X-Org-Id`",
  },
  CLIENT_ADDRESS_INVALID: {
    code: "invalid_argument",
    message: "client_address is an IPv4 or IPv6 address, without a port.",
    meaning: "The client's address is none.",
    example: '`client_address: "localhost"`',
  },
  PERMISSION_UNKNOWN: {
    code: "invalid_argument",
    message: "A permission is not in the catalogue, or cannot be used here. Check its spelling.",
    meaning: "A permission, or a pattern over permissions, stands for nothing in the catalogue.",
    example: "`calls.raed`",
  },
  ROLE_UNKNOWN: {
    code: "invalid_argument",
    message: "The organization has no role of this name.",
    meaning: "The organization has no role of this name.",
    example: '`role: "boss"`',
  },
  PAGE_TOKEN_INVALID: {
    code: "invalid_argument",
    message: "The page token is not one that this list gave out. Start at the first page.",
    meaning: "The page token was altered, or belongs to another list.",
    example: "a changed `page_token`",
  },
  OWNER_UNKNOWN: {
    code: "invalid_argument",
    message: "The organization has no active user of this id, to whom keys could belong.",
    meaning: "The user to whom API keys are to belong is no active member of the organization.",
    example: "`new_owner_id` of somebody who is disabled",
  },
  PERMISSION_RESERVED: {
    code: "invalid_argument",
    message: "Names that begin with `auth.` or `platform.` are Latchkey's own. Choose another.",
    meaning: "A permission was to be defined under a name that is Latchkey's own.",
    example: "`DefinePermission` of `auth.everything`",
  },
  KEY_FORMAT_INVALID: {
    code: "invalid_argument",
    message: "Keys of another system have a prefix that no key of Latchkey's has, and are longer than it.",
    meaning: "The declared format of foreign keys is one of Latchkey's own, or holds no key.",
    example: "`ImportApiKeys` with the prefix `ak_`",
  },
  KEY_HASH_INVALID: {
    code: "invalid_argument",
    message: "The hash is not one of the declared algorithm, or costs more than is allowed.",
    meaning: "A hash to import has the wrong length or form, or costs more to check than is allowed.",
    example: "20 bytes for SHA-256",
  },
  KEY_LOOKUP_PREFIX_INVALID: {
    code: "invalid_argument",
    message:
      "A salted hash needs lookup_prefix: the first 8 to 32 characters of the key, as its format has them.",
    meaning: "A salted hash to import has no lookup prefix, or one that no key of the format begins with.",
    example: "bcrypt without `lookup_prefix`",
  },
  REVISION_INVALID: {
    code: "invalid_argument",
    message: "The revision is not one that Latchkey gave out. Send it as it came.",
    meaning: "A revision was altered or cut.",
    example: "a changed `min_revision`",
  },
  PASSWORD_TOO_SHORT: {
    code: "invalid_argument",
    message: "The password is too short.",
    meaning: "The password has fewer code points than this deployment asks for.",
    example: '`password: "hunter2"`',
  },
  PASSWORD_COMMON: {
    code: "invalid_argument",
    message: "The password is one that others try first. Choose several words that do not belong together.",
    meaning: "The password is in a list of leaked ones, or is little more than a repetition or a sequence.",
    example: '`password: "123456789012345"`',
  },
  PASSWORD_CONTEXT: {
    code: "invalid_argument",
    message:
      "The password is little more than the person's email or name, or the organization's or the product's. Choose words that have nothing to do with them.",
    meaning:
      "Without the words of the email, the display name, the organization's name and `latchkey`, too little of the password is left.",
    example: "`acme-acme-acme-2026` for somebody of the organization `acme`",
  },
  PASSWORD_UNCHANGED: {
    code: "invalid_argument",
    message: "The new password is the current one.",
    meaning: "The new password is the one that is to be replaced.",
    example: "`ChangePassword` with the same password twice",
  },
  PASSWORD_HASH_INVALID: {
    code: "invalid_argument",
    message: "The hash is of no kind that is known, or costs more to check than is allowed.",
    meaning: "A password hash to import is of no kind that is known, or costs more to check than is allowed.",
    example: "a bcrypt hash of cost 20",
  },
  CREDENTIAL_MISSING: {
    code: "unauthenticated",
    message: "Send a credential: X-API-Key, Authorization: Bearer, or X-Internal-Key.",
    meaning: "There is no credential in the headers.",
    example: "no credential header, or `Authorization: Basic …`",
  },
  API_KEY_INVALID: {
    code: "unauthenticated",
    message: "The API key is not one of ours.",
    meaning: "The text is not an API key of this deployment: misspelt, cut short, made up.",
    example: "`X-API-Key: ak_wrong`",
  },
  API_KEY_EXPIRED: {
    code: "unauthenticated",
    message: "The API key has expired. Create another.",
    meaning: "The API key has reached its `expire_time`.",
    example: "a key past its end",
  },
  API_KEY_REVOKED: {
    code: "unauthenticated",
    message: "The API key was revoked. Create another.",
    meaning: "The API key was revoked.",
    example: "a key after `RevokeApiKey`",
  },
  API_KEY_CREATOR_INACTIVE: {
    code: "unauthenticated",
    message: "Whoever created the API key is no longer active. Have somebody else create another.",
    meaning: "The user who created the key is disabled, or the internal key that did has ended.",
    example: "a key of a disabled user",
  },
  API_KEY_ROTATED: {
    code: "unauthenticated",
    message: "A rotation has ended this secret of the API key. Use the new one.",
    meaning: "The secret was replaced by a rotation, and the overlap is over.",
    example: "the old secret after `FinishRotation`",
  },
  TOKEN_INVALID: {
    code: "unauthenticated",
    message: "The token is not one of ours.",
    meaning: "The text is not an access token that this deployment signed.",
    example: "`Authorization: Bearer eyJ…` with a changed payload",
  },
  TOKEN_EXPIRED: {
    code: "unauthenticated",
    message: "The token has expired. Log in again.",
    meaning: "The token or its session has reached its end.",
    example: "a token after 24 hours",
  },
  TOKEN_NOT_YET_VALID: {
    code: "unauthenticated",
    message: "The token is not valid yet. Check the clocks.",
    meaning: "The token begins in the future.",
    example: "a token whose `nbf` lies ahead",
  },
  TOKEN_REVOKED: {
    code: "unauthenticated",
    message: "The token was revoked. Log in again.",
    meaning: "The token's session was ended, or the key that signed it was withdrawn.",
    example: "a token after `RevokeToken`",
  },
  TOKEN_AUDIENCE_MISMATCH: {
    code: "unauthenticated",
    message: "The token was issued for another audience.",
    meaning: "The token's `aud` is not the audience asked for (RFC 9068 section 4).",
    example: '`audience: "billing"` with an ordinary token',
  },
  REFRESH_TOKEN_INVALID: {
    code: "unauthenticated",
    message: "The refresh token is not one of ours, or not to be sent this way. Log in again.",
    meaning:
      "The text is not a refresh token of this deployment, or it belongs in the cookie of a browser session and came in a message, or the other way round.",
    example: '`refresh_token: "rt_wrong"`',
  },
  REFRESH_TOKEN_EXPIRED: {
    code: "unauthenticated",
    message: "The session has reached its end. Log in again.",
    meaning: "The session was not refreshed for 7 days, or began 30 days ago, or was refreshed 5000 times.",
    example: "a refresh token after a holiday",
  },
  REFRESH_TOKEN_REUSED: {
    code: "unauthenticated",
    message:
      "The refresh token was used before, so somebody else may have it: its session has ended. Log in again.",
    meaning:
      "A refresh token was used a second time, after the next one was used or more than 10 seconds later. Its session and its tokens have ended.",
    example: "a stolen refresh token",
  },
  SERVICE_KEY_INVALID: {
    code: "unauthenticated",
    message: "The internal key is not one of ours.",
    meaning: "The text is not an internal key of this deployment.",
    example: "`X-Internal-Key: sk_wrong`",
  },
  SERVICE_KEY_EXPIRED: {
    code: "unauthenticated",
    message: "The internal key has expired. Create another.",
    meaning: "The internal key has reached its `expire_time`.",
    example: "a key past its end",
  },
  SERVICE_KEY_REVOKED: {
    code: "unauthenticated",
    message: "The internal key was revoked. Create another.",
    meaning: "The internal key was revoked.",
    example: "a key after `RevokeServiceKey`",
  },
  SERVICE_KEY_ROTATED: {
    code: "unauthenticated",
    message: "A rotation has ended this secret of the internal key. Use the new one.",
    meaning: "The secret was replaced by a rotation, and the overlap is over.",
    example: "the old secret after `FinishServiceKeyRotation`",
  },
  USER_DISABLED: {
    code: "unauthenticated",
    message: "The user is disabled in this organization.",
    meaning: "The user behind a token is disabled in the organization, or is no longer a member.",
    example: "a token of a disabled user",
  },
  ORGANIZATION_SUSPENDED: {
    code: "unauthenticated",
    message: "The organization is suspended.",
    meaning: "The organization that the credential acts for is suspended.",
    example: "any key of a suspended organization",
  },
  LOGIN_FAILED: {
    code: "unauthenticated",
    message: "Email or password is wrong.",
    meaning:
      "The email is unknown, the password is wrong, the user is disabled, or logins are delayed after many failures: it is not told which.",
    example: "a wrong password",
  },
  PERMISSION_DENIED: {
    code: "permission_denied",
    message: "The credential is valid and lacks a permission that is required.",
    meaning: "A required permission is not held. The metadata's `missing` lists what is.",
    example: "a key with `calls.read` where `calls.write` is required",
  },
  PERMISSION_NOT_HELD: {
    code: "permission_denied",
    message: "Nobody grants what they do not hold.",
    meaning: "The call would grant a permission that the caller does not hold.",
    example: "an API key with `calls.write` created by a viewer",
  },
  SERVICE_KEY_REQUIRED: {
    code: "permission_denied",
    message: "Only a service gets such a token: send its internal key in X-Internal-Key.",
    meaning: "A delegation is asked for with something else than an internal key.",
    example: "a `DelegationGrant` with the token of a platform administrator",
  },
  OWNER_REQUIRED: {
    code: "permission_denied",
    message: "Only an owner may do this to an owner.",
    meaning: "The call makes or changes an owner, and the caller is none.",
    example: "an admin who disables an owner",
  },
  ORGANIZATION_MISMATCH: {
    code: "permission_denied",
    message: "The credential belongs to another organization.",
    meaning: "The credential belongs to another organization than the one named.",
    example: "`X-Org-Id` of another organization",
  },
  ORGANIZATION_UNKNOWN: {
    code: "permission_denied",
    message: "There is no organization of this id.",
    meaning: "An internal key names an organization that does not exist, or was deleted.",
    example: "`X-Org-Id` of nobody",
  },
  ORIGIN_DENIED: {
    code: "permission_denied",
    message: "Browser sessions are for pages of this deployment's own origin and of those that it lists.",
    meaning:
      "A call about a browser session has no `Origin` header, several, or one that is neither the public URL's nor in `LATCHKEY_CORS_ORIGINS`.",
    example: "`browser_session: true` from a program",
  },
  CLIENT_ADDRESS_REQUIRED: {
    code: "permission_denied",
    message: "The credential is bound to addresses: pass client_address.",
    meaning: "The credential is bound to addresses, and the request does not tell the client's.",
    example: "a bound key without `client_address`",
  },
  CLIENT_ADDRESS_DENIED: {
    code: "permission_denied",
    message: "The credential may not be used from this address.",
    meaning: "The client's address is in none of the ranges that the credential is bound to.",
    example: '`client_address: "198.51.100.7"` with a key for `203.0.113.0/24`',
  },
  ACCOUNT_NOT_MANAGED: {
    code: "permission_denied",
    message:
      "The account is not your organization's alone to reset or to delete. Ask the platform's administrators, or remove the membership.",
    meaning:
      "The account is not one that the organization alone manages: it is pending, or was not created by the organization, or belongs to others too.",
    example: "`ResetPassword` of somebody who has joined two organizations",
  },
  CALLER_REJECTED: {
    code: "failed_precondition",
    message: "The service that asks must itself present a credential that holds auth.authenticate.",
    meaning:
      "The caller of `Authenticate`, not its subject, is refused. The metadata's `caller_reason` says why.",
    example: "`Authenticate` without a credential of one's own",
  },
  IDEMPOTENCY_KEY_REUSED: {
    code: "failed_precondition",
    message: "The idempotency key was used for another request. Use a new one for each.",
    meaning: "The same caller used the idempotency key within 10 minutes with another request.",
    example: "a retry with another name",
  },
  KEY_NOT_ACTIVE: {
    code: "failed_precondition",
    message: "The key was revoked, or has expired, and cannot be changed so. Create another.",
    meaning: "A key that was revoked was to be changed, or one that has expired to be rotated.",
    example: "`RotateApiKey` of a revoked key",
  },
  ROTATION_IN_PROGRESS: {
    code: "failed_precondition",
    message: "A rotation is going on. Finish or cancel it first.",
    meaning: "Both secrets of the key work, so there is no place for a third.",
    example: "`RotateApiKey` twice",
  },
  ROTATION_NOT_IN_PROGRESS: {
    code: "failed_precondition",
    message: "No rotation is going on: the key has one secret that works.",
    meaning: "There is no rotation to finish or to cancel.",
    example: "`FinishRotation` twice",
  },
  ROLE_BUILT_IN: {
    code: "failed_precondition",
    message: "The built-in roles stay as they are. Create another role.",
    meaning: "A built-in role was to be changed or deleted.",
    example: "`UpdateRole` of `viewer`",
  },
  ROLE_IN_USE: {
    code: "failed_precondition",
    message: "Somebody has the role. Give them another first.",
    meaning: "A role that somebody has was to be deleted.",
    example: "`DeleteRole` of a member's role",
  },
  PASSWORD_CHANGE_REQUIRED: {
    code: "failed_precondition",
    message: "The password is right and has to be changed first: call UserService/ChangePassword.",
    meaning:
      "The password is right, and an initial or a one-time one, with which nothing works but changing it.",
    example: "`IssueToken` after `ResetPassword`",
  },
  LAST_OWNER: {
    code: "failed_precondition",
    message: "An organization keeps at least one owner who can act. Make another owner first.",
    meaning: "The call would leave the organization without an owner.",
    example: "disabling the only owner",
  },
  ORGANIZATION_NAME_MISMATCH: {
    code: "failed_precondition",
    message: "The organization of this id has another name. Check the id.",
    meaning: "The organization to delete has another name than the call gives.",
    example: "`DeleteOrganization` with a wrong id",
  },
  REVISION_UNKNOWN: {
    code: "failed_precondition",
    message: "The revision is of another deployment, or of before the database was restored. Forget it.",
    meaning: "A revision belongs to another database, or to a history of this one that is no more.",
    example: "a `min_revision` of the test deployment",
  },
  NOT_FOUND: {
    code: "not_found",
    message: "There is no such thing, or it is not yours.",
    meaning: "The id names nothing, or something of another organization: it is not told which.",
    example: "`GetApiKey` with another tenant's id",
  },
  ORGANIZATION_NAME_TAKEN: {
    code: "already_exists",
    message: "An organization of this name exists.",
    meaning: "An organization of this name exists, in any case.",
    example: "`CreateOrganization` twice",
  },
  EMAIL_TAKEN: {
    code: "already_exists",
    message: "The organization has a user of this email already.",
    meaning: "The organization has a user of this email already; of an import, somebody has.",
    example: "`CreateUser` twice",
  },
  SERVICE_KEY_NAME_TAKEN: {
    code: "already_exists",
    message: "An internal key of this name is in use.",
    meaning: "An internal key of this name exists and is not revoked.",
    example: "`CreateServiceKey` twice",
  },
  ROLE_NAME_TAKEN: {
    code: "already_exists",
    message: "The organization has a role of this name.",
    meaning: "The organization has a role of this name already.",
    example: "`CreateRole` twice",
  },
  PERMISSION_NAME_TAKEN: {
    code: "already_exists",
    message: "There is a permission of this name with another scope.",
    meaning: "A permission of this name exists with another scope.",
    example: "`DefinePermission` of `calls.read` for the platform",
  },
  KEY_HASH_TAKEN: {
    code: "already_exists",
    message: "A key of this hash belongs to somebody already.",
    meaning: "A key of the same hash was imported before, for another organization or with other content.",
    example: "the same key for two organizations",
  },
  KEY_LOOKUP_PREFIX_CROWDED: {
    code: "resource_exhausted",
    message: "Three keys begin like this one. Give a longer lookup_prefix.",
    meaning: "More than three salted hashes would have to be tried for one key.",
    example: "four bcrypt hashes with one `lookup_prefix`",
  },
  RATE_LIMITED: {
    code: "resource_exhausted",
    message: "The key is used more often than it may be. Wait as long as RetryInfo says.",
    meaning: "The key has used up its rate limit. It is valid: this is no refusal of the credential.",
    example: "more calls than `rate_limit` allows",
  },
  KEY_CHECK_BUSY: {
    code: "resource_exhausted",
    message: "Too many keys of this beginning are being checked. Try again shortly.",
    meaning: "Too many wrong keys were tried that begin like a key with a salted hash.",
    example: "guesses at an imported key",
  },
  LOGIN_THROTTLED: {
    code: "resource_exhausted",
    message: "Too many logins from this address have failed. Wait as long as RetryInfo says.",
    meaning:
      "Too many logins from the client's address have failed, over all accounts. It says nothing of the email.",
    example: "a list of stolen passwords, tried from one address",
  },
  PASSWORD_HASHING_BUSY: {
    code: "resource_exhausted",
    message: "Too many passwords are being checked. Try again shortly.",
    meaning: "Too many passwords wait to be hashed.",
    example: "a flood of logins",
  },
  UNAVAILABLE: {
    code: "unavailable",
    message: "Latchkey cannot decide right now. Do not let the request through; try again.",
    meaning: "A fault of Latchkey's own, such as its database being away. It is no decision.",
    example: "the database is down",
  },
  INTERNAL: {
    code: "internal",
    message: "Something went wrong on our side.",
    meaning: "An unforeseen fault of Latchkey's own in a call that changes or reads data.",
    example: "a bug",
  },
} as const satisfies Record<string, ReasonEntry>;

interface ReasonEntry {
  /** The code of gRPC, as Connect spells it. */
  readonly code: string;
  /** What the caller is told, unless the place that refuses knows better. */
  readonly message: string;
  readonly meaning: string;
  readonly example: string;
}

export type Reason = keyof typeof REASONS;

/** What is ours to mend: its cause goes to the log. */
export const FAULTS: ReadonlySet<Reason> = new Set(["UNAVAILABLE", "INTERNAL"]);

export interface NamedOrganization {
  readonly id: string;
  readonly name: string;
}

export interface AuthErrorOptions {
  /** What the caller is told, in place of the reason's own message. It must hold no secret. */
  readonly message?: string;
  /** Details for programs, told to the caller. They must hold no secret. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** The organizations of which one is to be named. Whoever is told has a right to know. */
  readonly organizations?: readonly NamedOrganization[];
  /** When to come again, in milliseconds from now. */
  readonly retryAfterMillis?: number | undefined;
  /** What went wrong, for the log only. */
  readonly cause?: unknown;
}

/** Of most errors. */
export const NO_METADATA: Readonly<Record<string, string>> = Object.freeze({});

/** Whose credential was refused, as far as it is known. For the record: no caller is told. */
export interface RefusedSubject {
  readonly principal?: { readonly type: "user" | "api_key" | "service"; readonly id: string } | undefined;
  readonly organizationId?: string | undefined;
  /** Of the key or the session. */
  readonly credentialId?: string | undefined;
  /** The address that the question gave for the client. */
  readonly clientAddress?: string | undefined;
}

/** A refusal or a fault, with what the caller is told apart from what is logged. */
export class AuthError extends Error {
  override readonly name = "AuthError";
  readonly reason: Reason;
  readonly metadata: Readonly<Record<string, string>>;
  readonly organizations: readonly NamedOrganization[];
  readonly retryAfterMillis: number | undefined;
  /** Whoever refuses sets it, or whoever knows more on the way out. */
  subject: RefusedSubject | undefined;

  constructor(reason: Reason, options: AuthErrorOptions = {}) {
    // Where a refusal came about says nothing, and costs more than to find out that it is one.
    const { stackTraceLimit } = Error;
    if (!FAULTS.has(reason)) {
      Error.stackTraceLimit = 0;
    }
    super(options.message ?? REASONS[reason].message, { cause: options.cause });
    Error.stackTraceLimit = stackTraceLimit;
    this.reason = reason;
    this.metadata = options.metadata ?? NO_METADATA;
    this.organizations = options.organizations ?? [];
    this.retryAfterMillis = options.retryAfterMillis;
  }

  get code(): (typeof REASONS)[Reason]["code"] {
    return REASONS[this.reason].code;
  }
}
