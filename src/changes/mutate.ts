import type { EntityManager } from "@mikro-orm/postgresql";
import { type Author, type Event, eventRows, insertEvents } from "../audit/audit-event.ts";
import type { Storage } from "../storage/open-storage.ts";
import { callOrigin } from "./call-origin.ts";
import { inUnitOfWork } from "./unit-of-work.ts";

export type { Author, Event, PersonalData } from "../audit/audit-event.ts";

/** What a mutation did: its result, and the records that go into the same transaction. */
export type Mutation<Result> =
  | {
      readonly result: Result;
      /** Several, where it concerns the records of several organizations. */
      readonly event: Event | readonly Event[];
      readonly tags: readonly Tag[];
    }
  /** Things were already as asked. */
  | { readonly result: Result; readonly unchanged: true };

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

/** The channel on which a change is announced, of a transaction that was committed. */
export const CHANNEL = "latchkey_changes";

const INSERT_EVENTS = insertEvents("?", "?");

/** Announced is that there is something to ask for, not what: that is asked of the rows. */
const INSERT_TAGS = `
  with inserted as (insert into changes (tags) select array(select jsonb_array_elements_text(?)) returning xid)
  select xid::text, pg_notify('${CHANNEL}', '') from inserted`;

/**
 * Makes one change, its audit event and its change row in one transaction: all of them or none. This process has
 * heard of the change before the call returns; a storage whose unit of work is a transaction already, once that ends.
 */
export async function mutate<Result>(
  storage: Storage,
  author: Author,
  work: (em: EntityManager) => Promise<Mutation<Result>>,
): Promise<Result> {
  // Within a unit of work that is a transaction already, it is a part of that one.
  return await inUnitOfWork(storage, async (unit) => {
    const { em } = unit;
    const mutation = await work(em);
    if (!("unchanged" in mutation)) {
      const { event, tags } = mutation;
      await em.flush();
      const events: readonly Event[] = Array.isArray(event) ? event : [event as Event];
      const authored = events.map((each) => ({ author, event: each }));
      await em.execute(INSERT_EVENTS, [...eventRows(authored, callOrigin())]);
      if (tags.length > 0) {
        const list = JSON.stringify(tags);
        // Commits that announce something queue behind each other: those of logins and refreshes have no tags.
        const [inserted] = await em.execute<[{ xid: string }]>(INSERT_TAGS, [list]);
        unit.xid = inserted.xid;
        unit.tags.push(...tags);
      }
    }
    return mutation.result;
  });
}
