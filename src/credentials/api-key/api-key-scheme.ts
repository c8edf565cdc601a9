import { alikeList } from "../../authenticate/alike.ts";
import type { Identity } from "../../authenticate/decision.ts";
import type { ApiKeyState, LiveState, OwnerState, Standing } from "../../authenticate/live-state.ts";
import { type End, endMillis, type Proof } from "../../authenticate/proof.ts";
import type { Tag } from "../../changes/mutate.ts";
import { AuthError } from "../../errors.ts";
import {
  type Catalogue,
  compilePattern,
  expandPatterns,
  inBoth,
  isPattern,
} from "../../permissions/permission-pattern.ts";
import type { PresentedCredential } from "../credential-headers.ts";
import type { KeyHasher } from "../key-digest.ts";
import { endsOfKey, expireTimeOf } from "../live-key.ts";
import type { Scheme } from "../scheme.ts";
import { parseKey } from "../secret-key.ts";

/** `X-API-Key: ak_…`, and `Authorization: Bearer ak_…` for clients that can set no other header. */
export function apiKeyScheme(parts: {
  readonly liveState: LiveState;
  readonly keyHasher: KeyHasher;
  readonly apiKeyPrefixes: ReadonlySet<string>;
}): Scheme {
  const { apiKeyPrefixes } = parts;
  const isForUs = ({ kind, text }: PresentedCredential) =>
    kind !== "service_key" && beginsAsOurs(text, apiKeyPrefixes);
  return {
    screen(presented) {
      const isOurs = isForUs(presented);
      if (isOurs && parseKey(presented.text, apiKeyPrefixes) === undefined) {
        throw new AuthError("API_KEY_INVALID");
      }
      return isOurs;
    },
    async prove(presented, { trace }) {
      const { text } = presented;
      if (!isForUs(presented)) {
        return undefined;
      }
      trace.check("form", () => "an API key, by its prefix, length and checksum");
      const lookupId = parseKey(text, apiKeyPrefixes);
      if (lookupId === undefined) {
        throw new AuthError("API_KEY_INVALID");
      }
      trace.check("secret", () => `the key that ${lookupId} belongs to`);
      const state = await parts.liveState.apiKey(lookupId);
      // Whoever does not hold the secret learns nothing about the key, not even that it exists.
      if (!parts.keyHasher.matches(text, state?.secret.stored) || state === undefined) {
        return { disproved: "API_KEY_INVALID" };
      }
      return proofOf(state);
    },
  };
}

function beginsAsOurs(text: string, prefixes: ReadonlySet<string>): boolean {
  const end = text.indexOf("_");
  return end !== -1 && prefixes.has(text.slice(0, end));
}

/** What is true of a key whose secret was proved, made here or taken over. */
export function proofOf(state: ApiKeyState): Proof {
  const { id, secret } = state;
  const { lookupId, displayPrefix } = secret;
  return {
    held: { type: "api_key", keyId: id, lookupId, displayPrefix },
    ends: endsOfApiKey(state),
    identity: identityOf(state),
    tags: tagsOfApiKey(state),
    readMillis: state.now.getTime(),
    variesByOrganization: false,
  };
}

/** When a key of somebody's comes to its end, and they to theirs. */
export function endsOfApiKey(state: Standing<ApiKeyState>): readonly End[] {
  const { owner } = state;
  return [
    ...endsOfKey(state, {
      revoked: "API_KEY_REVOKED",
      rotated: "API_KEY_ROTATED",
      expired: "API_KEY_EXPIRED",
    }),
    {
      reason: "API_KEY_CREATOR_INACTIVE",
      atMillis: owner.active ? endMillis(owner.expireTime) : -Infinity,
      step: "owner",
      detail: () => ("userId" in owner ? "a user" : "an internal key"),
    },
  ];
}

export function tagsOfApiKey({ id, organization, owner }: Standing<ApiKeyState>): readonly Tag[] {
  const owners: Tag[] =
    "userId" in owner
      ? [`user:${owner.userId}`, ...(owner.roleId === undefined ? [] : [`role:${owner.roleId}` as const])]
      : [`key:${owner.serviceKeyId}`];
  return [`key:${id}`, `org:${organization.id}`, ...owners, "catalogue"];
}

/** Who a key stands for. */
export function identityOf(state: Standing<ApiKeyState>): Identity {
  const granted = expandPatterns(state.permissions, "api-key", state.catalogue);
  const ceiling = rightsOf(state.owner, state.catalogue);
  return {
    principal: { id: state.id, type: "api_key", displayName: state.name, email: "", role: "" },
    credential: { id: state.id, type: "api_key", expireTime: expireTimeOf(state) },
    organization: state.organization,
    parentKey: undefined,
    owner:
      "userId" in state.owner ? { userId: state.owner.userId } : { serviceKeyId: state.owner.serviceKeyId },
    grants: alikeList(
      state.permissions.filter((text) => !isPattern(text) || ownerReaches(state.owner, text)),
    ),
    permissions: inBoth(granted, ceiling),
    catalogue: state.catalogue,
    allowedCidrs: state.allowedCidrs,
    secretId: state.secret.lookupId,
    secretMakers: state.secret.makerIds,
    rateLimit: state.rateLimit,
  };
}

/** Whether a pattern will not come to reach what the owner does not. It is no more than names where it may. */
function ownerReaches(owner: OwnerState, pattern: string): boolean {
  const patterns = "userId" in owner ? owner.rolePermissions : owner.keyPermissions;
  return patterns.some((wide) => compilePattern(wide)?.(pattern) === true);
}

/** A key never exceeds whoever it stands on, as they are now. */
function rightsOf(owner: OwnerState, catalogue: Catalogue): ReadonlySet<string> {
  return "userId" in owner
    ? expandPatterns(owner.rolePermissions, "role", catalogue)
    : expandPatterns(owner.keyPermissions, "service-key", catalogue);
}
