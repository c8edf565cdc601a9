import type { Identity } from "../../authenticate/decision.ts";
import type { LiveState, ServiceKeyState } from "../../authenticate/live-state.ts";
import { AuthError } from "../../errors.ts";
import { expandPatterns } from "../../permissions/permission-pattern.ts";
import type { KeyHasher } from "../key-digest.ts";
import type { Scheme } from "../scheme.ts";
import { parseKey } from "../secret-key.ts";

export const SERVICE_KEY_PREFIX = "sk";

const PREFIXES: ReadonlySet<string> = new Set([SERVICE_KEY_PREFIX]);

/** `X-Internal-Key: sk_…`: a service of the platform, for the organization it names or for all. */
export function serviceKeyScheme(parts: {
  readonly liveState: LiveState;
  readonly keyHasher: KeyHasher;
}): Scheme {
  return {
    async identify({ kind, text }, { organizationId }) {
      if (kind !== "service_key") {
        return undefined;
      }
      const lookupId = parseKey(text, PREFIXES);
      if (lookupId === undefined) {
        throw new AuthError("SERVICE_KEY_INVALID");
      }
      const state = await parts.liveState.serviceKey(lookupId, organizationId);
      if (!parts.keyHasher.matches(text, state?.stored) || state === undefined) {
        throw new AuthError("SERVICE_KEY_INVALID");
      }
      return identityOf(state, organizationId);
    },
  };
}

function identityOf(state: ServiceKeyState, organizationId: string): Identity {
  if (state.revokeTime !== undefined) {
    throw new AuthError("SERVICE_KEY_REVOKED");
  }
  if (state.expireTime !== undefined && state.expireTime <= state.now) {
    throw new AuthError("SERVICE_KEY_EXPIRED");
  }
  if (organizationId !== "" && state.organization === undefined) {
    throw new AuthError("ORGANIZATION_UNKNOWN");
  }
  return {
    principal: { id: state.id, type: "service", displayName: state.name, email: "", role: "" },
    credential: { id: state.id, type: "service_key", expireTime: state.expireTime },
    organization: state.organization,
    owner: { serviceKeyId: state.id },
    grants: state.permissions,
    permissions: expandPatterns(state.permissions, "service-key", state.catalogue),
    catalogue: state.catalogue,
    allowedCidrs: state.allowedCidrs,
  };
}
