import type { ApiKeyState, LiveState } from "../../authenticate/live-state.ts";
import { AuthError } from "../../errors.ts";
import type { ImportedKeys } from "../imported-key/imported-keys.ts";
import type { KeyHasher } from "../key-digest.ts";
import { parseKey } from "../secret-key.ts";

export interface FindApiKeyParts {
  readonly liveState: LiveState;
  readonly keyHasher: KeyHasher;
  readonly importedKeys: Pick<ImportedKeys, "find">;
}

/**
 * The key whose secret a text is, whatever else is true of it: it may have expired, been revoked, or belong to
 * an organization that is suspended.
 *
 * @returns its id.
 * @throws AuthError API_KEY_INVALID, API_KEY_ROTATED for a secret that a rotation has ended, and what
 * ImportedKeys.find() throws.
 */
export async function findApiKeyByText(parts: FindApiKeyParts, text: string): Promise<string> {
  // A prefix that is accepted no longer makes a secret no less of a proof.
  const prefix = text.slice(0, text.indexOf("_"));
  const lookupId = parseKey(text, new Set([prefix]));
  const state =
    (lookupId === undefined ? undefined : await find(parts, lookupId, text)) ??
    (await parts.importedKeys.find(text));
  if (state === undefined) {
    throw new AuthError("API_KEY_INVALID");
  }
  const { expireTime } = state.secret;
  if (expireTime !== undefined && expireTime <= state.now) {
    throw new AuthError("API_KEY_ROTATED");
  }
  return state.id;
}

/** Whoever does not hold the secret learns nothing about the key, not even that it exists. */
async function find(
  { liveState, keyHasher }: FindApiKeyParts,
  lookupId: string,
  text: string,
): Promise<ApiKeyState | undefined> {
  const state = await liveState.apiKey(lookupId);
  return keyHasher.matches(text, state?.secret.stored) ? state : undefined;
}
