import type { Identity } from "../../authenticate/decision.ts";
import type { ApiKeyState, LiveState, OwnerState } from "../../authenticate/live-state.ts";
import { AuthError } from "../../errors.ts";
import { type Catalogue, expandPatterns } from "../../permissions/permission-pattern.ts";
import type { PresentedCredential } from "../credential-headers.ts";
import type { KeyHasher } from "../key-digest.ts";
import type { Scheme } from "../scheme.ts";
import { parseKey } from "../secret-key.ts";

/** `X-API-Key: ak_…`, and `Authorization: Bearer ak_…` for clients that can set no other header. */
export function apiKeyScheme(parts: {
  readonly liveState: LiveState;
  readonly keyHasher: KeyHasher;
  readonly apiKeyPrefixes: ReadonlySet<string>;
}): Scheme {
  return {
    async identify(presented) {
      if (!isOurs(presented, parts.apiKeyPrefixes)) {
        return undefined;
      }
      const lookupId = parseKey(presented.text, parts.apiKeyPrefixes);
      if (lookupId === undefined) {
        throw new AuthError("API_KEY_INVALID");
      }
      const state = await parts.liveState.apiKey(lookupId);
      // Whoever does not hold the secret learns nothing about the key, not even that it exists.
      if (!parts.keyHasher.matches(presented.text, state?.stored) || state === undefined) {
        throw new AuthError("API_KEY_INVALID");
      }
      return identityOf(state);
    },
  };
}

function isOurs({ kind, text }: PresentedCredential, prefixes: ReadonlySet<string>): boolean {
  return kind === "api_key" || (kind === "bearer" && prefixes.has(text.slice(0, text.indexOf("_"))));
}

function identityOf(state: ApiKeyState): Identity {
  if (state.revokeTime !== undefined) {
    throw new AuthError("API_KEY_REVOKED");
  }
  if (state.expireTime !== undefined && state.expireTime <= state.now) {
    throw new AuthError("API_KEY_EXPIRED");
  }
  if (!state.owner.active) {
    throw new AuthError("API_KEY_CREATOR_INACTIVE");
  }
  const granted = expandPatterns(state.permissions, "api-key", state.catalogue);
  const ceiling = rightsOf(state.owner, state.catalogue);
  return {
    principal: { id: state.id, type: "api_key", displayName: state.name, email: "", role: "" },
    credential: { id: state.id, type: "api_key", expireTime: state.expireTime },
    organization: state.organization,
    owner:
      "userId" in state.owner ? { userId: state.owner.userId } : { serviceKeyId: state.owner.serviceKeyId },
    grants: state.permissions,
    permissions: granted.intersection(ceiling),
    catalogue: state.catalogue,
    allowedCidrs: state.allowedCidrs,
  };
}

/** A key never exceeds whoever it stands on, as they are now. */
function rightsOf(owner: OwnerState, catalogue: Catalogue): Set<string> {
  return "userId" in owner
    ? expandPatterns(owner.rolePermissions, "role", catalogue)
    : expandPatterns(owner.keyPermissions, "service-key", catalogue);
}
