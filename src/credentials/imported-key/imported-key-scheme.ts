import { AuthError } from "../../errors.ts";
import { identityOf } from "../api-key/api-key-scheme.ts";
import { requireCallersOwn } from "../live-key.ts";
import type { Scheme } from "../scheme.ts";
import type { ImportedKeys } from "./imported-keys.ts";

/**
 * `X-API-Key` with an API key of another system, and `Authorization: Bearer` where its text looks like one. Has
 * to come after the keys that begin as ours: whatever else is in `X-API-Key` is refused here.
 */
export function importedKeyScheme({
  importedKeys,
}: {
  readonly importedKeys: Pick<ImportedKeys, "find">;
}): Scheme {
  return {
    async identify({ kind, text }, context) {
      const { trace } = context;
      if (kind === "service_key") {
        return undefined;
      }
      const state = await importedKeys.find(text, trace);
      if (state !== undefined) {
        const { onUse, secret } = state;
        const { lookupId, displayPrefix } = secret;
        trace.holds({ type: "api_key", keyId: state.id, lookupId, displayPrefix, ...(onUse && { onUse }) });
        trace.names({
          principal: { type: "api_key", id: state.id },
          organizationId: state.organization.id,
          credentialId: state.id,
        });
        requireCallersOwn(state.organization, context);
        return identityOf(state, trace);
      }
      if (kind === "bearer") {
        return undefined;
      }
      trace.check("form", () => "an API key, made here or taken over from another system");
      throw new AuthError("API_KEY_INVALID");
    },
  };
}
