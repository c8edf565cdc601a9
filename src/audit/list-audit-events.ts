import type { EntityManager } from "@mikro-orm/postgresql";
import { AuthError } from "../errors.ts";
import type { Storage } from "../storage/open-storage.ts";
import type { Page, PageRequest, Pager } from "../storage/page.ts";
import type { Author } from "./audit-event.ts";

/** How many events one page looks at. */
const MOST_SCANNED = 10_000;
/** How many bytes of details are on a page, unless it is one event's. */
const MOST_BYTES = 1024 * 1024;

/** Which events are asked for. An empty text: any. */
export interface AuditFilter {
  readonly startTime: Date | undefined;
  /** This is later than all of them. */
  readonly endTime: Date | undefined;
  readonly actorId: string;
  readonly actionPrefix: string;
  readonly targetId: string;
}

type Json = Record<string, unknown>;

/** An event as it is shown, with what it says of people put back in its place. */
export interface AuditEventView {
  readonly id: string;
  readonly organizationId: string | undefined;
  readonly occurTime: Date;
  readonly actorType: Author["type"];
  readonly actorId: string;
  readonly onBehalfOf: string;
  readonly action: string;
  readonly targetId: string;
  readonly before: Json | undefined;
  readonly after: Json | undefined;
  /** What else there is. */
  readonly detail: Json;
  readonly sourceAddress: string;
  readonly requestId: string;
  readonly personalDataErased: boolean;
  /** Undefined: it is not sealed yet. */
  readonly sequence: bigint | undefined;
}

/**
 * Lists the events of a chain that the caller may read, newest first.
 *
 * @throws AuthError PAGE_TOKEN_INVALID
 */
export async function listAuditEvents(
  { storage, pager }: { readonly storage: Storage; readonly pager: Pager },
  chain: string,
  filter: AuditFilter,
  request: PageRequest,
): Promise<Page<AuditEventView>> {
  // Times are written by their numbers, and a token goes on with its own filters only.
  const list = `audit_events ${JSON.stringify({ chain, ...filter })}`;
  return await pager.scan(list, request, async (after, size) => {
    const em = storage.fork();
    const { ids, next } = await find(em, chain, filter, after, size);
    return { rows: await read(em, ids), next };
  });
}

async function find(
  em: EntityManager,
  chain: string,
  filter: AuditFilter,
  after: string | undefined,
  size: number,
): Promise<{ ids: readonly string[]; next: string | undefined }> {
  const { startTime, endTime, actorId, actionPrefix, targetId } = filter;
  const bounds: (readonly [sql: string, ...values: unknown[]])[] = [["chain = ?", chain]];
  if (after !== undefined) {
    bounds.push(["(occur_time, id) < (?::timestamptz, ?::uuid)", await timeOf(em, chain, after), after]);
  }
  if (startTime !== undefined) {
    bounds.push(["occur_time >= ?::timestamptz", startTime.toISOString()]);
  }
  if (endTime !== undefined) {
    bounds.push(["occur_time < ?::timestamptz", endTime.toISOString()]);
  }
  const wanted: (readonly [sql: string, ...values: unknown[]])[] = [["true"]];
  if (actorId !== "") {
    wanted.push(["? in (actor_id, on_behalf_of)", actorId]);
  }
  if (actionPrefix !== "") {
    wanted.push(["starts_with(action, ?)", actionPrefix]);
  }
  if (targetId !== "") {
    wanted.push(["target_id = ?", targetId]);
  }
  const all = (conditions: typeof bounds) => conditions.map(([sql]) => sql).join(" and ");
  const values = [...bounds, ...wanted].flatMap(([, ...of]) => of);
  const [row] = await em.execute<
    [{ found: [id: string, bytes: number][]; last: string | null; many: boolean }]
  >(
    `with scanned as (
      select id, occur_time, actor_id, on_behalf_of, action, target_id from audit_events
      where ${all(bounds)} order by occur_time desc, id desc limit ${MOST_SCANNED}
    ), found as (
      select id, occur_time from scanned where ${all(wanted)} order by occur_time desc, id desc limit ${size + 1}
    )
    select
      (select coalesce(json_agg(json_build_array(f.id, octet_length(e.detail::text))
        order by f.occur_time desc, f.id desc), '[]') from found f join audit_events e on e.id = f.id) as found,
      (select id from scanned order by occur_time, id limit 1) as last,
      (select count(*) = ${MOST_SCANNED} from scanned) as many`,
    values,
  );
  const ids: string[] = [];
  let bytes = 0;
  for (const [id, length] of row.found) {
    bytes += length;
    if (ids.length === size || (bytes > MOST_BYTES && ids.length > 0)) {
      return { ids, next: ids.at(-1) };
    }
    ids.push(id);
  }
  return { ids, next: row.many ? (row.last ?? undefined) : undefined };
}

/** When an event was, to the microsecond. */
async function timeOf(em: EntityManager, chain: string, id: string): Promise<string> {
  const [row] = await em.execute<{ time: string }[]>(
    "select occur_time::text as time from audit_events where id = ? and chain = ?",
    [id, chain],
  );
  if (row === undefined) {
    throw new AuthError("PAGE_TOKEN_INVALID");
  }
  return row.time;
}

interface EventRow {
  id: string;
  organization_id: string | null;
  occur_millis: number;
  actor_type: Author["type"];
  actor_id: string;
  on_behalf_of: string | null;
  action: string;
  target_id: string;
  detail: Json;
  request_id: string;
  sequence: string | null;
  personal: (string | null)[];
}

async function read(em: EntityManager, ids: readonly string[]): Promise<AuditEventView[]> {
  if (ids.length === 0) {
    return [];
  }
  const rows: EventRow[] = await em.execute(
    `select e.id, e.organization_id, extract(epoch from e.occur_time)::float8 * 1000 as occur_millis, e.actor_type,
      e.actor_id, e.on_behalf_of, e.action, e.target_id, e.detail, e.request_id, s.sequence::text as sequence,
      (select coalesce(json_agg(p.data order by p.position), '[]') from audit_personal_data p
        where p.event_id = e.id) as personal
    from jsonb_array_elements_text(?::jsonb) with ordinality as asked (id, at)
    join audit_events e on e.id = asked.id::uuid
    left join audit_seals s on s.event_id = e.id
    order by asked.at`,
    [JSON.stringify(ids)],
  );
  return rows.map(viewOf);
}

function viewOf(row: EventRow): AuditEventView {
  const known = row.personal.filter((data) => data !== null).map((data) => JSON.parse(data) as Json);
  const merged = known.reduce(merge, row.detail);
  const { before, after, sourceAddress = "", ...detail } = merged;
  return {
    id: row.id,
    organizationId: row.organization_id ?? undefined,
    occurTime: new Date(row.occur_millis),
    actorType: row.actor_type,
    actorId: row.actor_id,
    onBehalfOf: row.on_behalf_of ?? "",
    action: row.action,
    targetId: row.target_id,
    before: isObject(before) ? before : undefined,
    after: isObject(after) ? after : undefined,
    detail,
    sourceAddress: String(sourceAddress),
    requestId: row.request_id,
    personalDataErased: row.personal.includes(null),
    sequence: row.sequence === null ? undefined : BigInt(row.sequence),
  };
}

/** Both are laid out alike: what they have of the same name goes together. */
function merge(one: Json, other: Json): Json {
  const both = Object.entries(other).map(([name, value]) => {
    const own = one[name];
    return [name, isObject(own) && isObject(value) ? { ...own, ...value } : value];
  });
  return { ...one, ...Object.fromEntries(both) };
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
