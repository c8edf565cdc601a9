import { mutate } from "../../changes/mutate.ts";
import type { Storage } from "../../storage/open-storage.ts";
import { type FindApiKeyParts, findApiKeyByText } from "./find-api-key.ts";
import { revokeWithOffspring } from "./revoke-api-key.ts";

/**
 * Revokes the API key whose secret the text is, as revokeApiKey() does: to hold it is proof enough.
 *
 * @throws AuthError API_KEY_INVALID, API_KEY_ROTATED
 */
export async function revokeOwnApiKey(
  parts: FindApiKeyParts & { readonly storage: Storage },
  { text, reason }: { readonly text: string; readonly reason: string },
): Promise<void> {
  const id = await findApiKeyByText(parts, text);
  await mutate(parts.storage, { type: "api_key", id }, (em) => revokeWithOffspring(em, { id }, reason));
}
