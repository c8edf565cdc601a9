import { LockMode } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { ApiKey } from "../credentials/api-key/api-key-entity.ts";
import { ServiceKey } from "../credentials/service-key/service-key-entity.ts";
import { AuthError } from "../errors.ts";
import { Membership } from "../users/membership-entity.ts";
import type { Actor } from "./actor.ts";

/**
 * Holds whoever creates something as they are until the unit of work is done. Whoever revokes or disables
 * them meanwhile waits, and then finds what they made; where that has come first, nothing is made.
 *
 * @throws AuthError API_KEY_REVOKED, SERVICE_KEY_REVOKED, USER_DISABLED
 */
export async function holdActor(em: EntityManager, { decision }: Actor): Promise<void> {
  const { principal, organization } = decision;
  const { id } = principal;
  const options = { lockMode: LockMode.PESSIMISTIC_READ };
  switch (principal.type) {
    case "api_key":
      if ((await em.findOne(ApiKey, { id, revokeTime: null }, options)) === null) {
        throw new AuthError("API_KEY_REVOKED");
      }
      return;
    case "service":
      if ((await em.findOne(ServiceKey, { id, revokeTime: null }, options)) === null) {
        throw new AuthError("SERVICE_KEY_REVOKED");
      }
      return;
    case "user": {
      const membership = { userId: id, organizationId: organization?.id ?? null };
      const active = { acceptTime: { $ne: null }, disableTime: null };
      if ((await em.findOne(Membership, { ...membership, ...active }, options)) === null) {
        throw new AuthError("USER_DISABLED");
      }
    }
  }
}
