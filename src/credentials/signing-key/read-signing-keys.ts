import type { EntityManager } from "@mikro-orm/postgresql";
import { AuthError } from "../../errors.ts";
import type { Storage } from "../../storage/open-storage.ts";
import type { Page, PageRequest, Pager } from "../../storage/page.ts";
import { SigningKey } from "./signing-key-entity.ts";

export type SigningKeyState = "next" | "active" | "retired" | "gone" | "revoked";

export interface SigningKeyView {
  readonly key: SigningKey;
  /** By the database's clock. */
  readonly state: SigningKeyState;
}

/** @throws AuthError NOT_FOUND */
export async function readSigningKey(em: EntityManager, kid: string): Promise<SigningKeyView> {
  const key = await em.findOne(SigningKey, { kid }, { refresh: true });
  if (key === null) {
    throw new AuthError("NOT_FOUND");
  }
  return viewOf(key, await databaseTime(em));
}

/** @throws AuthError PAGE_TOKEN_INVALID */
export async function listSigningKeys(
  parts: { readonly storage: Storage; readonly pager: Pager },
  request: PageRequest,
): Promise<Page<SigningKeyView>> {
  const em = parts.storage.fork();
  const page = await parts.pager.page("signing keys", request, async (after, limit) => {
    const condition = after === undefined ? {} : { listId: { $gt: after } };
    const keys = await em.find(SigningKey, condition, { orderBy: { listId: "asc" }, limit });
    return keys.map((key) => ({ id: key.listId, key }));
  });
  const now = await databaseTime(em);
  return { ...page, rows: page.rows.map(({ key }) => viewOf(key, now)) };
}

function viewOf(key: SigningKey, now: Date): SigningKeyView {
  const isPast = (time: Date | null | undefined) => time != null && time <= now;
  if (key.revokeTime != null) {
    return { key, state: "revoked" };
  }
  if (isPast(key.removeTime)) {
    return { key, state: "gone" };
  }
  if (isPast(key.retireTime)) {
    return { key, state: "retired" };
  }
  return { key, state: isPast(key.activateTime) ? "active" : "next" };
}

async function databaseTime(em: EntityManager): Promise<Date> {
  const [row] = await em.execute<{ millis: number }[]>(
    "select extract(epoch from clock_timestamp())::float8 * 1000 as millis",
  );
  return new Date(row?.millis ?? Number.NaN);
}
