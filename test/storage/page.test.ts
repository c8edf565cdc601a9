import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { v7 as uuidv7 } from "uuid";
import { AuthError } from "../../src/errors.ts";
import { createPager, type Pager } from "../../src/storage/page.ts";

const pager = createPager(randomBytes(32));

/** Reads a list of ids as the database would. */
const reader = (ids: readonly string[]) => async (after: string | undefined, limit: number) =>
  ids
    .filter((id) => after === undefined || id > after)
    .slice(0, limit)
    .map((id) => ({ id }));

const makeIds = (count: number) => Array.from({ length: count }, () => uuidv7()).sort();

/** The first token of a list of several pages. */
async function tokenOf(list: string, of: Pager = pager): Promise<string> {
  return (await of.page(list, { pageSize: 1, pageToken: "" }, reader(makeIds(3)))).nextPageToken;
}

async function isRefused(list: string, pageToken: string, by: Pager = pager): Promise<boolean> {
  let wasRead = false;
  const page = by.page(list, { pageSize: 1, pageToken }, async () => {
    wasRead = true;
    return [];
  });
  try {
    await page;
    return false;
  } catch (error) {
    assert.ok(error instanceof AuthError && error.reason === "PAGE_TOKEN_INVALID", String(error));
    assert.ok(!wasRead, "the list was read with a token that is none");
    return true;
  }
}

test("page by page, every row is told once and in order, whatever the sizes of the pages", async () => {
  const sizes = fc.array(fc.integer({ min: 0, max: 250 }), { minLength: 1, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 300 }), sizes, async (count, sizes) => {
      const ids = makeIds(count);
      const seen: string[] = [];
      let pageToken = "";
      let turn = 0;
      do {
        const pageSize = sizes[turn++ % sizes.length] ?? 0;
        const page = await pager.page("list", { pageSize, pageToken }, reader(ids));
        assert.ok(page.rows.length <= (pageSize || 50));
        assert.ok(page.rows.length === (pageSize || 50) || page.nextPageToken === "");
        seen.push(...page.rows.map(({ id }) => id));
        pageToken = page.nextPageToken;
      } while (pageToken !== "");
      assert.deepEqual(seen, ids);
    }),
    { numRuns: 50 },
  );
});

test("a page that is exactly full is the last where nothing follows", async () => {
  const page = await pager.page("list", { pageSize: 3, pageToken: "" }, reader(makeIds(3)));
  assert.equal(page.rows.length, 3);
  assert.equal(page.nextPageToken, "");
});

test("no more is read than a page and one row", async () => {
  await pager.page("list", { pageSize: 250, pageToken: "" }, async (after, limit) => {
    assert.equal(after, undefined);
    assert.equal(limit, 251);
    return [];
  });
});

test("a token of one list is refused by every other", async () => {
  const lists = fc.oneof(fc.string(), fc.constantFrom("users a", "users b", "api_keys a", "users", ""));
  await fc.assert(
    fc.asyncProperty(lists, lists, async (list, other) => {
      const token = await tokenOf(list);
      assert.equal(await isRefused(list, token), false);
      assert.equal(await isRefused(other, token), list !== other);
    }),
  );
});

test("a token of another deployment is refused, and one of another replica is not", async () => {
  const key = randomBytes(32);
  const token = await tokenOf("list", createPager(key));
  assert.equal(await isRefused("list", token), true);
  assert.equal(await isRefused("list", token, createPager(Buffer.from(key))), false);
});

test("a token with any character changed, added or left out is refused", async () => {
  const token = await tokenOf("list");
  const characters = [..."ABYZabyz0189-_+/=., \n\0"];
  for (let at = 0; at <= token.length; at++) {
    const [start, character, end] = [token.slice(0, at), token.charAt(at), token.slice(at + 1)];
    for (const other of characters) {
      if (other !== character && character !== "") {
        assert.ok(await isRefused("list", start + other + end), `${at}: ${other}`);
      }
      assert.ok(await isRefused("list", start + other + character + end), `${at}: ${other} added`);
    }
    if (character !== "") {
      assert.ok((await isRefused("list", start + end)) || start + end === "", `${at} left out`);
    }
  }
});

test("a text that is no token is refused before anything is read", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.string({ minLength: 1 }),
        fc.base64String({ minLength: 1 }),
        fc.constantFrom("' or 1=1 --", "null"),
      ),
      async (text) => assert.ok(await isRefused("list", text)),
    ),
  );
});

test("a token is short enough to be sent back", async () => {
  assert.ok((await tokenOf("x".repeat(1_000))).length <= 64);
});
