import { LockMode } from "@mikro-orm/core";
import { type Actor, authorOf } from "../authenticate/actor.ts";
import { holdActor } from "../authenticate/hold-actor.ts";
import { mutate } from "../changes/mutate.ts";
import { AuthError } from "../errors.ts";
import type { Storage } from "../storage/open-storage.ts";
import { Permission } from "./permission-entity.ts";

/** Latchkey's own permissions, and what tells people how far a name reaches. */
const RESERVED = /^(auth|platform)\./;

export type NewPermission = Pick<Permission, "name" | "scope" | "description">;

/**
 * Adds a permission to the catalogue, or changes its description.
 *
 * @throws AuthError PERMISSION_RESERVED, PERMISSION_NAME_TAKEN where there is one of another scope, and what
 * holdActor() throws.
 */
export async function definePermission(
  storage: Storage,
  actor: Actor,
  asked: NewPermission,
): Promise<Permission> {
  const { name, scope, description } = asked;
  if (RESERVED.test(name)) {
    throw new AuthError("PERMISSION_RESERVED");
  }
  return await mutate(storage, authorOf(actor), async (em) => {
    await holdActor(em, actor);
    const inserted: unknown[] = await em.execute(
      "insert into permissions (name, scope, description) values (?, ?, ?) on conflict (name) do nothing returning 1",
      [name, scope, description],
    );
    const isNew = inserted.length > 0;
    const permission = await em.findOneOrFail(Permission, { name }, { lockMode: LockMode.PESSIMISTIC_WRITE });
    if (permission.scope !== scope) {
      throw new AuthError("PERMISSION_NAME_TAKEN");
    }
    if (!isNew && permission.description === description) {
      return { result: permission, unchanged: true };
    }
    const before = isNew ? undefined : { description: permission.description };
    permission.description = description;
    const event = {
      action: isNew ? "permission.create" : "permission.update",
      targetId: name,
      detail: { ...(before && { before }), after: { scope, description } },
    };
    return { result: permission, event, tags: ["catalogue"] };
  });
}
