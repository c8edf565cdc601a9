import type { HeaderField } from "../credentials/credential-headers.ts";
import type { RateLimit } from "../credentials/rate-limit.ts";
import type { Catalogue } from "../permissions/permission-pattern.ts";

/** Whoever a credential stands for. */
export interface Principal {
  readonly id: string;
  readonly type: "user" | "api_key" | "service";
  readonly displayName: string;
  /** Of a user; else empty. */
  readonly email: string;
  /** The role's name, of a user who acts themselves; else empty: on their behalf nobody is what they are. */
  readonly role: string;
}

/** The key that a token was got with, and that it stands on. */
export interface ParentKey {
  readonly type: "api_key" | "service";
  readonly id: string;
  readonly displayName: string;
}

export interface OrganizationView {
  readonly id: string;
  readonly name: string;
  readonly suspended: boolean;
  readonly createTime: Date;
}

/** The credential that was presented, without its secret. */
export interface Credential {
  /** Of the API key, the internal key or the session. */
  readonly id: string;
  readonly type: "api_key" | "access_token" | "service_key";
  readonly expireTime: Date | undefined;
}

/** What a scheme finds out about a good credential: who, for whom, with which rights. */
export interface Identity {
  readonly principal: Principal;
  readonly credential: Credential;
  /** Undefined: a principal of the platform that named none, and may act for all. */
  readonly organization: OrganizationView | undefined;
  /**
   * The key that the credential was got with, where it is a token of one: the principal itself, or a service that
   * acts on behalf of it. Such a token is less than whoever it stands for: it may be narrowed, and ends soon.
   */
  readonly parentKey: ParentKey | undefined;
  /** Whose live rights bound what is created in this principal's name. */
  readonly owner: { readonly userId: string } | { readonly serviceKeyId: string };
  /** The names and patterns that the permissions come from. */
  readonly grants: readonly string[];
  /** Concrete permissions that are held. */
  readonly permissions: ReadonlySet<string>;
  /** Every permission that there is. */
  readonly catalogue: Catalogue;
  /** The address ranges that the credential is bound to; none: it is not. */
  readonly allowedCidrs: readonly string[];
  /** The public part of the secret that was presented, of a key; or of the one that the token was got with. */
  readonly secretId: string | undefined;
  /** Through whose hands that secret came, by their ids: see Maker. */
  readonly secretMakers: readonly string[];
  /** How often the credential may be used. Undefined: as often as one likes. */
  readonly rateLimit: RateLimit | undefined;
}

/** The service that acts on behalf of the principal. Undefined: the principal acts themselves. */
export function delegateOf({ principal, parentKey }: Pick<Identity, "principal" | "parentKey">) {
  return parentKey?.id === principal.id ? undefined : parentKey;
}

/** Whether it is a person who logged in, rather than a service on their behalf, or a key. */
export function isThemselves({ principal, parentKey }: Pick<Identity, "principal" | "parentKey">): boolean {
  return principal.type === "user" && parentKey === undefined;
}

/** The answer: the credential is good for what was asked. Whatever is not a decision is thrown. */
export interface Decision extends Identity {
  readonly stripHeaders: readonly string[];
  /** What it depends on. None: it is not to be kept. */
  readonly cacheTags?: readonly string[];
  /** When it ends to hold of its own accord. */
  readonly cacheExpireTime?: Date | undefined;
}

/** What is asked about a request, besides its headers. */
export interface Question {
  readonly headers: readonly HeaderField[];
  /** Concrete permissions, all of which must be held. */
  readonly requiredPermissions: readonly string[];
  /** Concrete permissions, at least one of which must be held, unless there are none. */
  readonly anyPermissions: readonly string[];
  /** Empty: the credential's own, or the one that `X-Org-Id` names. */
  readonly organizationId: string;
  /** The organization that whoever asks is bound to, and thus asks about. Empty: none. */
  readonly callerOrganizationId: string;
  /** Empty: the default audience. */
  readonly audience: string;
  /** Empty: unknown. */
  readonly clientAddress: string;
}
