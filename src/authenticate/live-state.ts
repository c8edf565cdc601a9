import type { KeyFormat } from "../credentials/imported-key/key-format.ts";
import type { KeyHashAlgorithm, SaltedAlgorithm } from "../credentials/imported-key/key-hash.ts";
import type { StoredDigest } from "../credentials/key-digest.ts";
import type { RateLimit } from "../credentials/rate-limit.ts";
import type { Catalogue } from "../permissions/permission-pattern.ts";
import type { OrganizationView } from "./decision.ts";

/** What every lookup tells besides its subject. Times are the database's. */
export interface Moment {
  readonly now: Date;
  readonly catalogue: Catalogue;
}

/** The rights of whoever a key stands on, as they are now. Undefined: they have none any more. */
export type OwnerState =
  | {
      readonly userId: string;
      readonly active: boolean;
      readonly expireTime: undefined;
      /** Undefined: they are no member. */
      readonly roleId: string | undefined;
      readonly rolePermissions: readonly string[];
    }
  | {
      readonly serviceKeyId: string;
      /** Not revoked. */
      readonly active: boolean;
      readonly expireTime: Date | undefined;
      readonly keyPermissions: readonly string[];
    };

/** What is true of a key, and of the one of its secrets that was asked about. */
export interface KeyState extends Moment {
  readonly id: string;
  readonly name: string;
  readonly permissions: readonly string[];
  readonly allowedCidrs: readonly string[];
  readonly expireTime: Date | undefined;
  readonly revokeTime: Date | undefined;
  readonly secret: {
    readonly lookupId: string;
    readonly displayPrefix: string;
    /** Through whose hands it came. */
    readonly makerIds: readonly string[];
    /** The end of an overlap. Undefined: it ends with the key. */
    readonly expireTime: Date | undefined;
    readonly stored: StoredDigest;
  };
}

export interface ApiKeyState extends KeyState {
  readonly rateLimit: RateLimit | undefined;
  readonly organization: OrganizationView;
  readonly owner: OwnerState;
}

/** What is true of a key for whoever has proved to hold a secret of it: there is nothing left to compare. */
export type Standing<State extends KeyState> = Omit<State, "secret"> & {
  readonly secret: Omit<State["secret"], "stored">;
};

/** How the texts of another system's keys look, and how that hashed them. */
export interface KeyFormatState extends KeyFormat {
  readonly id: string;
  readonly algorithm: KeyHashAlgorithm;
  /** Of an HMAC. */
  readonly sealedHmacSecret: Buffer | undefined;
}

export interface ImportedKeyState extends ApiKeyState {
  /** Whether no slot has its secret yet. What is stored is then of its foreign hash, and nothing is shown. */
  readonly isPending: boolean;
}

/** A salted hash that a text may be of. */
export interface SaltedHashState {
  readonly fingerprint: Buffer;
  readonly algorithm: SaltedAlgorithm;
  readonly hash: string;
  readonly lookupPrefix: string;
  readonly organizationId: string;
}

export interface ServiceKeyState extends KeyState {
  /** The organization that it is to act for, where one was named and exists. */
  readonly organization: OrganizationView | undefined;
}

export interface SessionState extends Moment {
  readonly id: string;
  readonly expireTime: Date;
  readonly revokeTime: Date | undefined;
  readonly user: {
    readonly id: string;
    readonly email: string;
    readonly displayName: string;
    readonly platformRole: string | undefined;
    /** Accepted, and not disabled. */
    readonly active: boolean;
  };
  readonly role: { readonly id: string; readonly name: string; readonly permissions: readonly string[] };
  readonly organization: OrganizationView;
}

/** What is true of a token that was got with a key, and of all that it stands on. */
export type KeyTokenState = {
  readonly session: KeyTokenSession;
  readonly signingKey: SigningKeyState;
} & (
  | { readonly kind: "api_key"; readonly key: Standing<ApiKeyState> }
  | { readonly kind: "service"; readonly key: Standing<ServiceKeyState> }
  | {
      readonly kind: "delegation";
      readonly key: Standing<ServiceKeyState>;
      readonly user: SessionState["user"];
      readonly role: SessionState["role"];
      readonly organization: OrganizationView;
    }
);

/** Which kinds of token are got with keys. */
export type KeyTokenKind = KeyTokenState["kind"];

export interface KeyTokenSession {
  readonly id: string;
  readonly expireTime: Date;
  readonly revokeTime: Date | undefined;
  /** Names and patterns that it was narrowed to. Undefined: it was not. */
  readonly permissions: readonly string[] | undefined;
  /** The organization that it is bound to. Undefined: a service that may act for each. */
  readonly organizationId: string | undefined;
}

/** What is known of a signing key. */
export interface SigningKeyState {
  readonly kid: string;
  readonly algorithm: string;
  readonly publicJwk: Readonly<Record<string, unknown>>;
  readonly revokeTime: Date | undefined;
  /** When it is published no more: every token that it has signed has expired then. Undefined: not known yet. */
  readonly removeTime: Date | undefined;
}

/**
 * What is true now of a credential: the one place where the verify path meets the database, with one
 * statement for each question. Nothing here decides.
 */
export interface LiveState {
  apiKey(lookupId: string): Promise<ApiKeyState | undefined>;
  /** Every declared format of other systems' keys. What it tells changes with the tag `key_formats`. */
  keyFormats(): Promise<readonly KeyFormatState[]>;
  /**
   * The key of another system that a text is of: by its slot, or by its foreign hash until it has one. That
   * there is none must not be remembered: a first use may be putting it into a slot.
   */
  importedKey(
    lookupId: string,
    fingerprints: readonly Buffer[],
    formatIds: readonly string[],
  ): Promise<ImportedKeyState | undefined>;
  /**
   * The salted hashes that a text may be of, at most three, and whether it is in a slot meanwhile. It must not
   * be remembered either.
   */
  saltedHashes(
    lookupId: string,
    lookupPrefixes: readonly string[],
    formatIds: readonly string[],
  ): Promise<{ readonly candidates: readonly SaltedHashState[]; readonly hasSlot: boolean }>;
  /** @param organizationId the organization to act for; empty for none. */
  serviceKey(lookupId: string, organizationId: string): Promise<ServiceKeyState | undefined>;
  /** The session of a token and the key that the token says it was signed with. */
  session(
    sessionId: string,
    kid: string,
  ): Promise<{ session: SessionState | undefined; signingKey: SigningKeyState | undefined }>;
  /**
   * The same of a token that was got with a key, with that key and whoever else it stands on.
   *
   * @param organizationId the organization to act for, where the token leaves that open; empty for none.
   */
  keyToken(
    kind: KeyTokenKind,
    sessionId: string,
    kid: string,
    organizationId: string,
  ): Promise<KeyTokenState | undefined>;
}

/** What every row tells. */
export interface MomentRow {
  now: Date;
  catalogue: Catalogue;
}

/**
 * Asks one question of the database, for one row: the time, and what the statement selects. The catalogue comes with
 * it, unless it is known.
 */
export type AskNow = <Row extends MomentRow>(
  name: string,
  sql: string,
  values: readonly unknown[],
) => Promise<Row | undefined>;
