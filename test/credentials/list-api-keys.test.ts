import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { v4 as uuidv4 } from "uuid";
import { ApiKeyState } from "../../src/gen/latchkey/v1/api_key_pb.ts";
import { bearer, type Headers, internalKey } from "../access/actors.ts";
import {
  addApiKey,
  addOrganization,
  addServiceKey,
  addUser,
  makePassword,
  type Password,
} from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { refusedWith } from "../support/refusal.ts";
import { ApiKeyService, startService, type TestService } from "../support/service.ts";

let service: TestService;
let password: Password;
let internal: (organizationId: string) => Headers;
before(async () => {
  service = await startService();
  password = await makePassword(service.core);
  internal = (organizationId) => internalKey(service.internalKey, organizationId);
});
after(() => service.stop());

type State = "active" | "expired" | "revoked";

const STATES: Readonly<Record<State, ApiKeyState>> = {
  active: ApiKeyState.ACTIVE,
  expired: ApiKeyState.EXPIRED,
  revoked: ApiKeyState.REVOKED,
};

interface Key {
  readonly id: string;
  readonly name: string;
  readonly state: State;
  readonly ownerId: string;
  readonly environment: string;
}

interface Filter {
  readonly state?: State;
  readonly ownerId?: string;
  readonly nameContains?: string;
  readonly environment?: string;
}

const NAMES = [
  "billing",
  "Billing API",
  "100% sure",
  "a_b",
  "aXb",
  "back\\slash",
  "o'clock",
  "ÄRGER",
  "ключ",
];
const TEXTS = [
  "bill",
  "BILL",
  "%",
  "_",
  "a_b",
  "\\",
  "'",
  "' or true --",
  "ärg",
  "КЛЮЧ",
  "i",
  " ",
  "x".repeat(100),
];
const ENVIRONMENTS = ["", "test", "live"];

async function listAll(
  organizationId: string,
  { state, ...rest }: Filter,
  pageSize: number,
): Promise<string[][]> {
  const client = service.client(ApiKeyService, internal(organizationId));
  const pages: string[][] = [];
  let pageToken = "";
  do {
    const page = await client.listApiKeys({
      ...rest,
      pageSize,
      pageToken,
      ...(state && { state: STATES[state] }),
    });
    pages.push(page.apiKeys.map(({ id }) => id));
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return pages;
}

test("whatever the filter and the page size, every key that it is about is seen once, oldest first, and no other", async () => {
  const { core } = service;
  const organizations = [await addOrganization(core), await addOrganization(core)];
  const keys = new Map<string, Key[]>();
  const owners: string[] = [];
  for (const organizationId of organizations) {
    const user = await addUser(core, { organizationId, role: "owner", password });
    const serviceKey = await addServiceKey(core, { permissions: ["*"] });
    owners.push(user.id, serviceKey.id);
    const made: Key[] = [];
    for (let turn = 0; turn < 30; turn++) {
      const name = NAMES[turn % NAMES.length] ?? "";
      const state = (["active", "expired", "revoked"] as const)[turn % 3] ?? "active";
      const environment = ENVIRONMENTS[(turn >> 1) % 3] ?? "";
      const isUsers = turn % 4 !== 0;
      const { id } = await addApiKey(core, {
        organizationId,
        owner: isUsers ? { userId: user.id } : { serviceKeyId: serviceKey.id },
        permissions: ["calls.read"],
        name,
        // Whoever was revoked may have expired too: then it is revoked.
        ...((state === "expired" || turn % 6 === 2) && { expireTime: new Date(Date.now() - 1000) }),
      });
      await query(
        service.connection,
        "update api_keys set environment = $1, revoke_time = case when $2 then now() end where id = $3",
        [environment, state === "revoked", id],
      );
      made.push({ id, name, state, environment, ownerId: isUsers ? user.id : serviceKey.id });
    }
    keys.set(organizationId, made);
  }

  const matches = (key: Key, { state, ownerId, nameContains, environment }: Filter) =>
    (state === undefined || key.state === state) &&
    (ownerId === undefined || key.ownerId === ownerId) &&
    (nameContains === undefined || key.name.toLowerCase().includes(nameContains.toLowerCase())) &&
    (environment === undefined || environment === "" || key.environment === environment);
  const filters = fc.record(
    {
      state: fc.constantFrom<State>("active", "expired", "revoked"),
      ownerId: fc.constantFrom(...owners, uuidv4()),
      nameContains: fc.oneof(
        fc.constantFrom(...TEXTS),
        fc.string({ minLength: 1, maxLength: 4, unit: "grapheme" }),
      ),
      environment: fc.constantFrom(...ENVIRONMENTS, "other"),
    },
    { requiredKeys: [] },
  );
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...organizations),
      filters,
      fc.integer({ min: 1, max: 40 }),
      async (organizationId, filter, pageSize) => {
        const expected = (keys.get(organizationId) ?? []).filter((key) => matches(key, filter));
        const pages = await listAll(organizationId, filter, pageSize);
        assert.deepEqual(
          pages.flat(),
          expected.map(({ id }) => id),
        );
        assert.ok(pages.slice(0, -1).every((page) => page.length === pageSize));
      },
    ),
    { numRuns: 150 },
  );
});

test("a page token is good for its own organization and its own filter only", async () => {
  const { core } = service;
  const [here, there] = [await addOrganization(core), await addOrganization(core)];
  const ownerOf = new Map<string, string>();
  for (const organizationId of [here, there]) {
    const { id } = await addUser(core, { organizationId, role: "owner", password });
    ownerOf.set(organizationId, id);
    for (let turn = 0; turn < 3; turn++) {
      await addApiKey(core, {
        organizationId,
        owner: { userId: id },
        permissions: ["calls.read"],
        name: "key",
      });
    }
  }
  const list = (organizationId: string, filter: Filter, pageToken = "") =>
    service.client(ApiKeyService, internal(organizationId)).listApiKeys({
      ...filter,
      state: filter.state === undefined ? ApiKeyState.UNSPECIFIED : STATES[filter.state],
      pageSize: 1,
      pageToken,
    });
  const filters: Filter[] = [
    {},
    { state: "active" },
    { ownerId: ownerOf.get(here) ?? "" },
    { nameContains: "key" },
    { nameContains: "ke" },
    { state: "active", nameContains: "key" },
  ];
  const tokens: [number, string][] = [];
  for (const [at, filter] of filters.entries()) {
    const { nextPageToken } = await list(here, filter);
    assert.notEqual(nextPageToken, "");
    tokens.push([at, nextPageToken]);
  }
  for (const [at, token] of tokens) {
    for (const [other, filter] of filters.entries()) {
      if (at === other) {
        assert.equal((await list(here, filter, token)).apiKeys.length, 1);
      } else {
        await refusedWith("PAGE_TOKEN_INVALID", list(here, filter, token));
      }
      await refusedWith("PAGE_TOKEN_INVALID", list(there, filter, token));
    }
  }
});

test("no text that a name may be asked for is a fault", async () => {
  const client = service.client(ApiKeyService, bearer(await service.logIn()));
  for (const nameContains of ["%%%%", "\\%", "$1", "?", "??", ":name"]) {
    assert.deepEqual((await client.listApiKeys({ nameContains })).apiKeys, [], JSON.stringify(nameContains));
  }
});

test("a key that comes to its end is listed as expired, and no longer as active", async () => {
  const { core, organizationId } = service;
  const key = await addApiKey(core, {
    organizationId,
    owner: { userId: service.admin.id },
    permissions: ["calls.read"],
    name: "ending",
    expireTime: new Date(Date.now() + 3_600_000),
  });
  const listed = async (state: State) =>
    (await listAll(organizationId, { state, nameContains: "ending" }, 10)).flat();
  assert.deepEqual([await listed("active"), await listed("expired")], [[key.id], []]);
  await query(service.connection, "update api_keys set expire_time = now() where id = $1", [key.id]);
  assert.deepEqual([await listed("active"), await listed("expired")], [[], [key.id]]);
});
