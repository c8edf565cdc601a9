import type { EntityManager } from "@mikro-orm/postgresql";
import type { Actor } from "../authenticate/actor.ts";
import { AuthError } from "../errors.ts";
import type { Storage } from "../storage/open-storage.ts";
import { changeKey, type KeyKind, type KeyRow } from "./change-key.ts";
import { checkKeyGrant } from "./key-grant.ts";
import { type KeySlot, type KeyView, newestFirst, worksAt } from "./key-slots.ts";
import { makerOf } from "./maker.ts";

/**
 * Gives a key a second secret, while the first works on until the overlap ends. The new one is handed to the
 * actor, who must be able to hand out such a key themselves.
 *
 * @throws AuthError NOT_FOUND, KEY_NOT_ACTIVE, ROTATION_IN_PROGRESS, PERMISSION_NOT_HELD
 */
export async function rotateKey<Key extends KeyRow, Slot extends KeySlot>(
  kind: KeyKind<Key, Slot>,
  storage: Storage,
  actor: Actor,
  { id, overlapMillis }: { readonly id: string; readonly overlapMillis: number },
): Promise<{ view: KeyView<Key>; secret: string }> {
  let secret = "";
  const view = await changeKey(kind, storage, actor, id, async (em, key, now) => {
    checkKeyGrant(actor.decision, kind.standingOf(key), kind.grantOf(key));
    if (key.expireTime != null && key.expireTime <= now) {
      throw new AuthError("KEY_NOT_ACTIVE");
    }
    const slots = await kind.slotsOf(em, key);
    const [old, ...others] = slots.filter((slot) => worksAt(slot, now));
    // Where a second one works outside the slots, that it was restored is undone by the refusal.
    if (others.length > 0 || (old !== undefined && (await kind.elsewhere?.restore(em, key)))) {
      throw new AuthError("ROTATION_IN_PROGRESS");
    }
    const end = new Date(now.getTime() + overlapMillis);
    if (old !== undefined) {
      old.expireTime = end;
    }
    await kind.elsewhere?.end(em, key, overlapMillis);
    const place = old?.slot === 1 ? 2 : 1;
    await clear(em, slots, place);
    const minted = kind.mint(key);
    kind.addSlot(em, key, place, minted, makerOf(actor.decision));
    secret = minted.text;
    return {
      action: "rotate",
      detail: {
        before: { displayPrefix: old?.displayPrefix },
        after: { displayPrefix: minted.displayPrefix, oldExpireTime: end },
      },
    };
  });
  return { view, secret };
}

/**
 * Takes the newer secret back. The older one goes on as before, so that the actor must be able to hand out such
 * a key: whoever holds a secret that is about to end does not get it back by themselves.
 *
 * @throws AuthError NOT_FOUND, KEY_NOT_ACTIVE, ROTATION_NOT_IN_PROGRESS, PERMISSION_NOT_HELD
 */
export async function cancelRotation<Key extends KeyRow, Slot extends KeySlot>(
  kind: KeyKind<Key, Slot>,
  storage: Storage,
  actor: Actor,
  id: string,
): Promise<KeyView<Key>> {
  return await changeKey(kind, storage, actor, id, async (em, key, now) => {
    const { newer, older } = await rotationOf(kind, em, key, now);
    checkKeyGrant(actor.decision, kind.standingOf(key), kind.grantOf(key));
    em.remove(newer);
    if (older !== undefined) {
      older.expireTime = null;
    }
    return {
      action: "cancel_rotation",
      detail: {
        before: { displayPrefix: newer.displayPrefix },
        after: { displayPrefix: older?.displayPrefix },
      },
    };
  });
}

/**
 * Ends the older secret.
 *
 * @throws AuthError NOT_FOUND, KEY_NOT_ACTIVE, ROTATION_NOT_IN_PROGRESS
 */
export async function finishRotation<Key extends KeyRow, Slot extends KeySlot>(
  kind: KeyKind<Key, Slot>,
  storage: Storage,
  actor: Actor,
  id: string,
): Promise<KeyView<Key>> {
  return await changeKey(kind, storage, actor, id, async (em, key, now) => {
    const { newer, older } = await rotationOf(kind, em, key, now);
    if (older === undefined) {
      await kind.elsewhere?.end(em, key, 0);
    } else {
      older.expireTime = now;
    }
    return {
      action: "finish_rotation",
      detail: {
        before: { displayPrefix: older?.displayPrefix },
        after: { displayPrefix: newer.displayPrefix },
      },
    };
  });
}

/**
 * The two secrets that work: the older is undefined where it is in no slot, and then goes on as before.
 *
 * @throws AuthError ROTATION_NOT_IN_PROGRESS
 */
async function rotationOf<Key extends KeyRow, Slot extends KeySlot>(
  kind: KeyKind<Key, Slot>,
  em: EntityManager,
  key: Key,
  now: Date,
): Promise<{ newer: Slot; older: Slot | undefined }> {
  const slots = await kind.slotsOf(em, key);
  const [newer, older] = newestFirst(slots.filter((slot) => worksAt(slot, now)));
  if (newer === undefined || (older === undefined && !(await kind.elsewhere?.restore(em, key)))) {
    throw new AuthError("ROTATION_NOT_IN_PROGRESS");
  }
  return { newer, older };
}

/** Makes room: what is there has come to its end. */
async function clear(em: EntityManager, slots: readonly KeySlot[], place: number): Promise<void> {
  const ended = slots.find(({ slot }) => slot === place);
  if (ended !== undefined) {
    em.remove(ended);
    await em.flush();
  }
}
