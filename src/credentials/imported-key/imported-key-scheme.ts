import type { Proof } from "../../authenticate/proof.ts";
import { AuthError } from "../../errors.ts";
import { proofOf } from "../api-key/api-key-scheme.ts";
import type { Scheme } from "../scheme.ts";
import type { ImportedKeys } from "./imported-keys.ts";

/**
 * `X-API-Key` with an API key of another system, and `Authorization: Bearer` where its text looks like one. Has
 * to come after the keys that begin as ours: whatever else is in `X-API-Key` is refused here.
 */
export function importedKeyScheme({
  importedKeys,
}: {
  readonly importedKeys: Pick<ImportedKeys, "find" | "mayHave">;
}): Scheme {
  return {
    screen({ kind, text }) {
      const mayBe = kind !== "service_key" && importedKeys.mayHave(text);
      if (kind === "api_key" && !mayBe) {
        throw new AuthError("API_KEY_INVALID");
      }
      return mayBe;
    },
    async prove({ kind, text }, { trace }) {
      if (kind === "service_key") {
        return undefined;
      }
      const state = await importedKeys.find(text, trace);
      if (state !== undefined) {
        const { onUse } = state;
        const found = proofOf(state);
        const { held } = found;
        const proof: Proof = { ...found, tags: [...found.tags, "key_formats"] };
        // Once it was used, it is found elsewhere.
        return onUse === undefined || held === undefined
          ? proof
          : { ...proof, held: { ...held, onUse }, onlyNow: true };
      }
      if (kind === "bearer") {
        return undefined;
      }
      trace.check("form", () => "an API key, made here or taken over from another system");
      throw new AuthError("API_KEY_INVALID");
    },
  };
}
