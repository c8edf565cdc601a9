import { type Actor, authorOf } from "../../authenticate/actor.ts";
import { holdActor } from "../../authenticate/hold-actor.ts";
import { mutate } from "../../changes/mutate.ts";
import { makeSigningKey } from "./new-signing-key.ts";
import { readSigningKey, type SigningKeyView } from "./read-signing-keys.ts";
import type { RotateParts } from "./rotate-signing-key.ts";
import { closeLine, lockSigningKeys, readLine } from "./signing-key-line.ts";

/**
 * Withdraws a signing key for good; another signs in its place at once. One that is revoked already stays as it is.
 *
 * @throws AuthError NOT_FOUND, and what holdActor() throws.
 */
export async function revokeSigningKey(
  parts: RotateParts,
  actor: Actor,
  { id: kid, reason }: { readonly id: string; readonly reason: string },
): Promise<SigningKeyView> {
  const spare = await makeSigningKey(parts.seal, parts.algorithm);
  return await mutate(parts.storage, authorOf(actor), async (em) => {
    await holdActor(em, actor);
    await lockSigningKeys(em);
    const { state } = await readSigningKey(em, kid);
    if (state === "revoked") {
      return { result: await readSigningKey(em, kid), unchanged: true };
    }
    const line = await readLine(em);
    await em.execute(
      `update signing_keys set revoke_time = clock_timestamp(), revoke_reason = ?, sealed_private_key = null
      where kid = ?`,
      [reason, kid],
    );
    const changed = line.active === kid || line.next === kid ? await closeLine(em, line, spare) : {};
    return {
      result: await readSigningKey(em, kid),
      event: {
        action: "signing_key.revoke",
        targetId: kid,
        detail: { before: { state }, after: { state: "revoked", ...changed }, reason },
      },
      tags: [kid, ...Object.values(changed)].map((each) => `signing_key:${each}` as const),
    };
  });
}
