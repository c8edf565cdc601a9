import type { EntityManager } from "@mikro-orm/postgresql";
import { type Actor, authorOf } from "../../authenticate/actor.ts";
import { holdActor } from "../../authenticate/hold-actor.ts";
import { type Mutation, mutate } from "../../changes/mutate.ts";
import type { Storage } from "../../storage/open-storage.ts";
import type { Seal } from "../../storage/seal.ts";
import { makeSigningKey, type NewSigningKey, type SigningAlgorithm } from "./new-signing-key.ts";
import { readSigningKey, type SigningKeyView } from "./read-signing-keys.ts";
import { lockSigningKeys, PUBLISHED_AHEAD, putInLine, readLine } from "./signing-key-line.ts";

export interface RotateParts {
  readonly storage: Storage;
  readonly seal: Seal;
  readonly algorithm: SigningAlgorithm;
}

/**
 * Makes the key that will sign next; while there is one, it is that one.
 *
 * @throws AuthError what holdActor() throws.
 */
export async function rotateSigningKey(parts: RotateParts, actor: Actor): Promise<SigningKeyView> {
  const key = await makeSigningKey(parts.seal, parts.algorithm);
  return await mutate(parts.storage, authorOf(actor), async (em) => {
    await holdActor(em, actor);
    await lockSigningKeys(em);
    return await rotate(em, key);
  });
}

/**
 * The same by the service itself, where it is due still once nobody else is at it.
 *
 * @returns whether a key was made.
 */
export async function rotateWhereDue(
  storage: Storage,
  key: NewSigningKey,
  isDue: (em: EntityManager) => Promise<boolean>,
): Promise<boolean> {
  return await mutate(storage, { type: "operator", id: "signing key rotation" }, async (em) => {
    await lockSigningKeys(em);
    if (!(await isDue(em))) {
      return { result: false, unchanged: true };
    }
    const mutation = await rotate(em, key);
    return { ...mutation, result: !("unchanged" in mutation) };
  });
}

async function rotate(em: EntityManager, key: NewSigningKey): Promise<Mutation<SigningKeyView>> {
  const { active, next } = await readLine(em);
  if (next !== undefined) {
    return { result: await readSigningKey(em, next), unchanged: true };
  }
  await putInLine(em, key, active === undefined ? "0" : PUBLISHED_AHEAD);
  const view = await readSigningKey(em, key.kid);
  const { algorithm, activateTime } = view.key;
  return {
    result: view,
    event: {
      action: active === undefined ? "signing_key.create" : "signing_key.rotate",
      targetId: key.kid,
      detail: {
        ...(active !== undefined && { before: { active } }),
        after: { algorithm, activateTime: activateTime.toISOString() },
      },
    },
    tags: [key.kid, ...(active === undefined ? [] : [active])].map((kid) => `signing_key:${kid}` as const),
  };
}
