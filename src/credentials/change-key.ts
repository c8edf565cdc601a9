import type { EntityManager } from "@mikro-orm/postgresql";
import { type Actor, authorOf } from "../authenticate/actor.ts";
import { holdActor, holdOwner } from "../authenticate/hold-actor.ts";
import { mutate } from "../changes/mutate.ts";
import { AuthError } from "../errors.ts";
import type { Storage } from "../storage/open-storage.ts";
import type { KeyGrant, KeyStanding } from "./key-grant.ts";
import type { KeySlot, KeyView } from "./key-slots.ts";
import type { Maker } from "./maker.ts";
import type { MintedKey } from "./secret-key.ts";

/** A key, as both kinds have it. */
export interface KeyRow {
  readonly id: string;
  /** Of an API key. */
  readonly organizationId?: string | undefined;
  readonly expireTime?: Date | null | undefined;
  readonly revokeTime?: Date | null | undefined;
}

/** A kind of key, as far as changing one needs to know it. */
export interface KeyKind<Key extends KeyRow, Slot extends KeySlot> {
  /** What the audit log calls it. */
  readonly noun: "api_key" | "service_key";
  /** What a principal is who presents one. */
  readonly principalType: "api_key" | "service";
  /** The key, locked until the unit of work is done. Null: there is none within the actor's reach. */
  lock(em: EntityManager, actor: Actor, id: string): Promise<Key | null>;
  /** Locked like the key: a revocation elsewhere may end one of them. */
  slotsOf(em: EntityManager, key: Key): Promise<Slot[]>;
  /** A new secret for a key. */
  mint(key: Key): MintedKey;
  /** @param maker to whom the secret is handed. */
  addSlot(em: EntityManager, key: Key, slot: number, minted: MintedKey, maker: Maker): Slot;
  grantOf(key: Key): KeyGrant;
  standingOf(key: Key): KeyStanding;
  viewOf(em: EntityManager, key: Key): Promise<KeyView<Key>>;
  /** Where a secret may be that is in no slot yet: that of a key taken over from another system. */
  readonly elsewhere?: {
    end(em: EntityManager, key: Key, overlapMillis: number): Promise<void>;
    /** @returns false where there is none that works. */
    restore(em: EntityManager, key: Key): Promise<boolean>;
  };
}

/** What was done to a key, for the record. */
export interface KeyChange {
  readonly action: string;
  readonly detail: Record<string, unknown>;
}

/**
 * Makes one change of a key that is not revoked, while nobody else changes it.
 *
 * @param change undefined: things were already as asked. It is told the time at which the key was locked.
 * @throws AuthError NOT_FOUND, KEY_NOT_ACTIVE, and what holdActor() throws.
 */
export async function changeKey<Key extends KeyRow, Slot extends KeySlot>(
  kind: KeyKind<Key, Slot>,
  storage: Storage,
  actor: Actor,
  id: string,
  change: (em: EntityManager, key: Key, now: Date) => Promise<KeyChange | undefined>,
): Promise<KeyView<Key>> {
  return await mutate(storage, authorOf(actor), async (em) => {
    const key = await lockHoldingActor(kind, em, actor, id);
    if (key.revokeTime != null) {
      throw new AuthError("KEY_NOT_ACTIVE");
    }
    // Before the time is asked for: whoever ended one of them meanwhile did so by then.
    await kind.slotsOf(em, key);
    const done = await change(em, key, await currentTime(em));
    await em.flush();
    const result = await kind.viewOf(em, key);
    if (done === undefined) {
      return { result, unchanged: true };
    }
    const { organizationId } = key;
    const event = {
      organizationId,
      action: `${kind.noun}.${done.action}`,
      targetId: key.id,
      detail: done.detail,
    };
    return { result, event, tags: [`key:${key.id}`] };
  });
}

/**
 * Two keys may change each other at the same time, and one may change itself: the one that the actor is, or that
 * their token stands on, is held in the order of the ids where it is of the target's kind, or each would wait for
 * the other.
 */
async function lockHoldingActor<Key extends KeyRow, Slot extends KeySlot>(
  kind: KeyKind<Key, Slot>,
  em: EntityManager,
  actor: Actor,
  id: string,
): Promise<Key> {
  const { type, id: ownId } = actor.decision.parentKey ?? actor.decision.principal;
  const keyFirst = type === kind.principalType && id <= ownId;
  if (!keyFirst) {
    await holdActor(em, actor);
  } else if ("userId" in actor.decision.owner || type === "api_key") {
    // People come before keys, for whoever locks both.
    await holdOwner(em, actor);
  }
  const key = await kind.lock(em, actor, id);
  if (keyFirst) {
    await holdActor(em, actor);
  }
  if (key === null) {
    throw new AuthError("NOT_FOUND");
  }
  return key;
}

/** The database's time now. That of the transaction is older than the lock, for which it may have waited. */
async function currentTime(em: EntityManager): Promise<Date> {
  const [row] = await em.execute<{ now: string }[]>("select clock_timestamp() as now");
  if (row === undefined) {
    throw new Error("the database told no time");
  }
  return new Date(row.now);
}
