import { createHmac, timingSafeEqual } from "node:crypto";
import { parse as parseUuid, stringify as stringifyUuid } from "uuid";
import { AuthError } from "../errors.ts";

const DEFAULT_PAGE_SIZE = 50;
const UUID_BYTES = 16;
const MAC_BYTES = 16;

/** One page of a list, and the token that asks for the next. */
export interface Page<Row> {
  readonly rows: readonly Row[];
  readonly nextPageToken: string;
}

export interface PageRequest {
  /** 0: the default. */
  readonly pageSize: number;
  /** Empty: the first page. */
  readonly pageToken: string;
}

/** Reads lists page by page, in the order of their ids. */
export interface Pager {
  /**
   * @param list what is listed, and for whom: a token of one list is refused by another.
   * @param read the rows after an id (undefined: from the start), at most `limit` of them, by id.
   * @throws AuthError PAGE_TOKEN_INVALID where the token was altered or is of another list.
   */
  page<Row extends { id: string }>(
    list: string,
    request: PageRequest,
    read: (after: string | undefined, limit: number) => Promise<readonly Row[]>,
  ): Promise<Page<Row>>;
  /**
   * The same for a list that is looked through, of which a page may be short though there is another.
   *
   * @param read what was found after an id, and the id after which to go on. Undefined: there is nothing more.
   * @throws AuthError PAGE_TOKEN_INVALID
   */
  scan<Row>(
    list: string,
    request: PageRequest,
    read: (
      after: string | undefined,
      size: number,
    ) => Promise<{ readonly rows: readonly Row[]; readonly next: string | undefined }>,
  ): Promise<Page<Row>>;
}

export function createPager(key: Uint8Array): Pager {
  const mac = (list: string, id: Uint8Array) =>
    createHmac("sha256", key).update(list).update("\0").update(id).digest().subarray(0, MAC_BYTES);

  const writeToken = (list: string, id: string) => {
    const bytes = parseUuid(id);
    return Buffer.concat([bytes, mac(list, bytes)]).toString("base64url");
  };

  const readToken = (list: string, token: string) => {
    const bytes = Buffer.from(token, "base64url");
    const id = bytes.subarray(0, UUID_BYTES);
    if (
      bytes.length !== UUID_BYTES + MAC_BYTES ||
      bytes.toString("base64url") !== token ||
      !timingSafeEqual(bytes.subarray(UUID_BYTES), mac(list, id))
    ) {
      throw new AuthError("PAGE_TOKEN_INVALID");
    }
    return stringifyUuid(id);
  };

  const sizeOf = ({ pageSize }: PageRequest) => (pageSize === 0 ? DEFAULT_PAGE_SIZE : pageSize);
  const startOf = (list: string, { pageToken }: PageRequest) =>
    pageToken === "" ? undefined : readToken(list, pageToken);

  return {
    async scan(list, request, read) {
      const { rows, next } = await read(startOf(list, request), sizeOf(request));
      return { rows, nextPageToken: next === undefined ? "" : writeToken(list, next) };
    },
    async page(list, request, read) {
      const size = sizeOf(request);
      const after = startOf(list, request);
      // One more than asked for tells whether there is another page.
      const rows = await read(after, size + 1);
      const page = rows.slice(0, size);
      const last = page.at(-1);
      return { rows: page, nextPageToken: rows.length > size && last ? writeToken(list, last.id) : "" };
    },
  };
}
