import { LockMode } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import type { Principal } from "../authenticate/decision.ts";
import { AuthError } from "../errors.ts";
import { ApiKey } from "./api-key/api-key-entity.ts";
import { ServiceKey } from "./service-key/service-key-entity.ts";

/**
 * Holds the key that makes another until the unit of work is done: whoever revokes it waits, and then
 * revokes what it made as well.
 *
 * @throws AuthError API_KEY_REVOKED, SERVICE_KEY_REVOKED where that has come first.
 */
export async function holdMaker(em: EntityManager, { id, type }: Principal): Promise<void> {
  const condition = { id, revokeTime: null };
  const lockMode = LockMode.PESSIMISTIC_READ;
  if (type === "api_key" && (await em.findOne(ApiKey, condition, { lockMode })) === null) {
    throw new AuthError("API_KEY_REVOKED");
  }
  if (type === "service" && (await em.findOne(ServiceKey, condition, { lockMode })) === null) {
    throw new AuthError("SERVICE_KEY_REVOKED");
  }
}
