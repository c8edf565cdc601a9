import type { Identity } from "../../authenticate/decision.ts";
import type { LiveState, ServiceKeyState, Standing } from "../../authenticate/live-state.ts";
import { type End, endedAlready } from "../../authenticate/proof.ts";
import type { Tag } from "../../changes/mutate.ts";
import { AuthError } from "../../errors.ts";
import { expandPatterns } from "../../permissions/permission-pattern.ts";
import type { KeyHasher } from "../key-digest.ts";
import { endsOfKey, expireTimeOf } from "../live-key.ts";
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
    screen({ kind, text }) {
      if (kind === "service_key" && parseKey(text, PREFIXES) === undefined) {
        throw new AuthError("SERVICE_KEY_INVALID");
      }
      return kind === "service_key";
    },
    async prove({ kind, text }, { organizationId, trace }) {
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
        return { disproved: "SERVICE_KEY_INVALID" };
      }
      const { lookupId: secretId, displayPrefix } = state.secret;
      return {
        held: { type: "service_key", keyId: state.id, lookupId: secretId, displayPrefix },
        ends: endsOfServiceKey(state, organizationId),
        identity: serviceIdentityOf(state),
        tags: tagsOfServiceKey(state),
        readMillis: state.now.getTime(),
        variesByOrganization: true,
        // Whoever holds a key could name organizations without end that there are not.
        onlyNow: namesNone(state, organizationId),
      };
    },
  };
}

/** When an internal key comes to its end. It has, for an organization that there is not. */
export function endsOfServiceKey(state: Standing<ServiceKeyState>, organizationId: string): readonly End[] {
  return [
    ...endsOfKey(state, {
      revoked: "SERVICE_KEY_REVOKED",
      rotated: "SERVICE_KEY_ROTATED",
      expired: "SERVICE_KEY_EXPIRED",
    }),
    {
      reason: "ORGANIZATION_UNKNOWN",
      atMillis: endedAlready(namesNone(state, organizationId)),
      step: "organization_exists",
      detail: () => (organizationId === "" ? "none is named" : "the one named exists"),
    },
  ];
}

/** Whether an organization was named that there is not. */
export function namesNone({ organization }: Standing<ServiceKeyState>, organizationId: string): boolean {
  return organizationId !== "" && organization === undefined;
}

export function tagsOfServiceKey({ id, organization }: Standing<ServiceKeyState>): readonly Tag[] {
  return [
    `key:${id}`,
    ...(organization === undefined ? [] : [`org:${organization.id}` as const]),
    "catalogue",
  ];
}

/** Who an internal key stands for. */
export function serviceIdentityOf(state: Standing<ServiceKeyState>): Identity {
  return {
    principal: { id: state.id, type: "service", displayName: state.name, email: "", role: "" },
    credential: { id: state.id, type: "service_key", expireTime: expireTimeOf(state) },
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
