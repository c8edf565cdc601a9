import { createHash, randomBytes } from "node:crypto";
import { v7 as uuidv7 } from "uuid";

/** Who makes a change, for the record. */
export interface Author {
  /** Anonymous: nobody knows who, since they were refused. */
  readonly type: "user" | "api_key" | "service" | "operator" | "anonymous";
  readonly id: string;
  /** The id of the user in whose name a service acts that was given a token for it. */
  readonly onBehalfOf?: string | undefined;
  /** The user about whom the address of the call may tell something. Where the author is a user, it is they. */
  readonly personId?: string | undefined;
}

/** What was done. */
export interface Event {
  /** The organization whose record it belongs to. Undefined: the platform's. */
  readonly organizationId?: string | undefined;
  /** What was done, such as `api_key.create`. */
  readonly action: string;
  readonly targetId: string;
  /**
   * The state before and after, without any secret and without personal data: no email, no name of a person,
   * no address.
   */
  readonly detail: Record<string, unknown>;
  /** What it says of people. It is kept apart, so that it can be erased. */
  readonly personal?: PersonalData | readonly PersonalData[] | undefined;
}

/** What an event says of one person, laid out as its detail is: `{ after: { email } }`. */
export interface PersonalData {
  /** Whose erasure takes it away. Undefined: nobody's. */
  readonly userId: string | undefined;
  readonly data: Record<string, unknown>;
}

const SALT_BYTES = 32;

/** An event and whose it is. */
export interface AuthoredEvent {
  readonly author: Author;
  readonly event: Event;
}

/** The rows of events, as parameters of insertEvents(). */
export function eventRows(
  events: readonly AuthoredEvent[],
  origin: { readonly address: string; readonly requestId: string } | undefined,
): readonly [events: string, personal: string] {
  const address = origin?.address ?? "";
  const rows = events.map(({ author, event }) => {
    const personId = author.personId ?? (author.type === "user" ? author.id : undefined);
    const source: readonly PersonalData[] =
      address === "" ? [] : [{ userId: personId, data: { sourceAddress: address } }];
    const id = uuidv7();
    const personal = [...listOf(event.personal), ...source].map((one, position) =>
      personalRow(id, position, one),
    );
    const row = {
      id,
      organization_id: event.organizationId ?? null,
      actor_type: author.type,
      actor_id: author.id,
      on_behalf_of: author.onBehalfOf ?? null,
      action: event.action,
      target_id: event.targetId,
      detail: event.detail,
      request_id: origin?.requestId ?? "",
      personal_digest: personalDigest(personal.map(({ digest }) => digest)),
    };
    return { row, personal };
  });
  return [
    JSON.stringify(rows.map(({ row }) => row)),
    JSON.stringify(rows.flatMap(({ personal }) => personal)),
  ];
}

/**
 * Of somebody who was deleted nothing personal is kept, whenever it is told: where they deleted themselves from, or
 * where a token of theirs was refused later. It is as if it were erased at once.
 *
 * @returns the statement that inserts what eventRows() made, with these placeholders.
 */
export const insertEvents = (events: string, personal: string): string => `
  with event_rows as (
    insert into audit_events (id, organization_id, actor_type, actor_id, on_behalf_of, action, target_id, detail,
      request_id, personal_digest)
    select id, organization_id, actor_type, actor_id, on_behalf_of, action, target_id, detail,
      request_id, decode(personal_digest, 'hex')
    from jsonb_to_recordset(${events}::jsonb) as e (
      id uuid, organization_id uuid, actor_type text, actor_id text, on_behalf_of text, action text,
      target_id text, detail jsonb, request_id text, personal_digest text)
  )
  insert into audit_personal_data (event_id, position, user_id, salt, data, digest)
  select event_id, position, user_id, case when is_known then decode(salt, 'hex') end, case when is_known then data end,
    decode(digest, 'hex')
  from jsonb_to_recordset(${personal}::jsonb) as p (
    event_id uuid, position smallint, user_id uuid, salt text, data text, digest text),
  lateral (select not exists (
    select from users u where u.id = p.user_id and u.delete_time is not null) as is_known) as person`;

function personalRow(eventId: string, position: number, { userId, data }: PersonalData) {
  const salt = randomBytes(SALT_BYTES);
  const text = JSON.stringify(data);
  const digest = digestOfPersonal(salt, userId ?? null, text);
  return {
    event_id: eventId,
    position,
    user_id: userId ?? null,
    salt: salt.toString("hex"),
    data: text,
    digest,
  };
}

/** The salted digest of what an event says of one person, in hexadecimal digits. */
export function digestOfPersonal(salt: Uint8Array, userId: string | null, data: string): string {
  return createHash("sha256")
    .update(salt)
    .update(`${userId ?? ""} ${data}`)
    .digest("hex");
}

/** What the event itself carries of all that it says of people, by their digests. Null: it says nothing. */
export function personalDigest(digests: readonly string[]): string | null {
  return digests.length === 0
    ? null
    : createHash("sha256")
        .update(Buffer.from(digests.join(""), "hex"))
        .digest("hex");
}

function listOf(personal: Event["personal"]): readonly PersonalData[] {
  if (personal === undefined) {
    return [];
  }
  return Array.isArray(personal) ? personal : [personal as PersonalData];
}
