import type { Identity } from "../../authenticate/decision.ts";
import type { LiveState, ServiceKeyState, Standing } from "../../authenticate/live-state.ts";
import type { Trace } from "../../authenticate/trace.ts";
import { AuthError } from "../../errors.ts";
import { expandPatterns } from "../../permissions/permission-pattern.ts";
import type { KeyHasher } from "../key-digest.ts";
import { requireLive } from "../live-key.ts";
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
    async identify({ kind, text }, { organizationId, trace }) {
      if (kind !== "service_key") {
        return undefined;
      }
      trace.check("form", () => "an internal key, by its prefix, length and checksum");
      const lookupId = parseKey(text, PREFIXES);
      if (lookupId === undefined) {
        throw new AuthError("SERVICE_KEY_INVALID");
      }
      trace.check("secret", () => `the key that ${lookupId} belongs to`);
      const state = await parts.liveState.serviceKey(lookupId, organizationId);
      if (!parts.keyHasher.matches(text, state?.secret.stored) || state === undefined) {
        throw new AuthError("SERVICE_KEY_INVALID");
      }
      const { displayPrefix } = state.secret;
      trace.holds({ type: "service_key", keyId: state.id, lookupId, displayPrefix });
      trace.names({
        principal: { type: "service", id: state.id },
        organizationId: state.organization?.id,
        credentialId: state.id,
      });
      return serviceIdentityOf(state, organizationId, trace);
    },
  };
}

/** Who an internal key stands for whose secret was proved. */
export function serviceIdentityOf(
  state: Standing<ServiceKeyState>,
  organizationId: string,
  trace: Trace,
): Identity {
  const expireTime = requireLive(state, trace, {
    revoked: "SERVICE_KEY_REVOKED",
    rotated: "SERVICE_KEY_ROTATED",
    expired: "SERVICE_KEY_EXPIRED",
  });
  if (organizationId !== "" && state.organization === undefined) {
    throw new AuthError("ORGANIZATION_UNKNOWN");
  }
  return {
    principal: { id: state.id, type: "service", displayName: state.name, email: "", role: "" },
    credential: { id: state.id, type: "service_key", expireTime },
    organization: state.organization,
    parentKey: undefined,
    owner: { serviceKeyId: state.id },
    grants: state.permissions,
    permissions: expandPatterns(state.permissions, "service-key", state.catalogue),
    catalogue: state.catalogue,
    allowedCidrs: state.allowedCidrs,
    secretId: state.secret.lookupId,
    secretMakers: state.secret.makerIds,
    rateLimit: undefined,
  };
}
