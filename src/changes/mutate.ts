import { TransactionPropagation } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { v7 as uuidv7 } from "uuid";
import { AuditEvent } from "../audit/audit-event-entity.ts";
import type { Storage } from "../storage/open-storage.ts";

/** Who makes a change, for the record. */
export interface Author {
  readonly type: "user" | "api_key" | "service" | "operator";
  readonly id: string;
  /** The user on whose behalf a service does it. */
  readonly onBehalfOf?: string;
}

/** What a mutation did: its result, and the records that go into the same transaction. */
export type Mutation<Result> =
  | { readonly result: Result; readonly event: Event; readonly tags: readonly Tag[] }
  /** Things were already as asked. */
  | { readonly result: Result; readonly unchanged: true };

export interface Event {
  /** The organization whose record it belongs to. Undefined: the platform's. */
  readonly organizationId?: string | undefined;
  /** What was done, such as `api_key.create`. */
  readonly action: string;
  readonly targetId: string;
  /** The state before and after, without any secret. */
  readonly detail: Record<string, unknown>;
}

/** What a cached answer may depend on. */
export type Tag =
  | `key:${string}`
  | `user:${string}`
  | `org:${string}`
  | `role:${string}`
  | `session:${string}`
  | `signing_key:${string}`
  /** Every permission that there is. */
  | "catalogue"
  /** How the keys of other systems look. */
  | "key_formats";

/** Makes one change, its audit event and its change row in one transaction: all of them or none. */
export async function mutate<Result>(
  storage: Storage,
  author: Author,
  work: (em: EntityManager) => Promise<Mutation<Result>>,
): Promise<Result> {
  const transaction = async (em: EntityManager): Promise<Result> => {
    const mutation = await work(em);
    if (!("unchanged" in mutation)) {
      const { event, tags } = mutation;
      em.create(AuditEvent, {
        id: uuidv7(),
        organizationId: event.organizationId ?? null,
        actorType: author.type,
        actorId: author.id,
        action: event.action,
        targetId: event.targetId,
        detail: { ...event.detail, ...(author.onBehalfOf && { onBehalfOf: author.onBehalfOf }) },
      });
      await em.flush();
      if (tags.length > 0) {
        const list = JSON.stringify(tags);
        await em.execute("insert into changes (tags) select array(select jsonb_array_elements_text(?))", [
          list,
        ]);
      }
    }
    return mutation.result;
  };
  // Within a unit of work that is a transaction already, it is a part of that one.
  return await storage.fork().transactional(transaction, { propagation: TransactionPropagation.REQUIRED });
}
