import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { addEvent, sealingOf } from "../audit/sealing.ts";
import { query } from "../support/cluster.ts";
import { ApiKeyService, OrganizationService, startService } from "../support/service.ts";
import { goodCalls } from "./methods.ts";
import { shown } from "./outcomes.ts";
import { callHttp1 } from "./raw-call.ts";
import { refusals } from "./refusals.ts";
import { nobody, twoTenants } from "./tenants.ts";

const service = await startService();
after(() => service.stop());
const { assertRefused, call } = await refusals(service);
const calls = await goodCalls(service);
const { apiKeys, serviceKeys, organizations, users, roles, newUser, platform, theirs } =
  await twoTenants(service);

describe("a page token", () => {
  const LISTS = [
    { method: "ApiKeyService/ListApiKeys", fields: [platform] },
    { method: "UserService/ListUsers", fields: [platform] },
    { method: "OrganizationService/ListOrganizations", fields: [platform] },
    { method: "ServiceKeyService/ListServiceKeys", fields: [platform] },
    { method: "RoleService/ListRoles", fields: [platform] },
    { method: "AuditService/ListAuditEvents", fields: [platform] },
    { method: "AuditService/ListAuditCheckpoints", fields: [platform] },
  ] as const;

  test("is tried with every list", () => {
    const lists = calls.filter(({ method: { input } }) => input.field["pageSize"] !== undefined);
    assert.deepEqual(
      [...new Set(lists.map(({ path }) => path))].toSorted(),
      LISTS.map(({ method }) => `/latchkey.v1.${method}`).toSorted(),
    );
  });

  async function firstToken(method: string, more: object = {}): Promise<string> {
    const body = JSON.stringify({ pageSize: 1, ...more });
    const answer = await callHttp1(service.port, `/latchkey.v1.${method}`, [platform], body);
    return JSON.parse(answer.body.toString()).nextPageToken ?? assert.fail(`${method} has a second page`);
  }

  before(async () => {
    for (const name of ["one more", "one more again"]) {
      await apiKeys.createApiKey({ name, environment: "test", permissions: ["calls.read"] });
    }
    await serviceKeys.createServiceKey({ name: "one-more" });
    const sealing = await sealingOf(service);
    for (const organizationId of [service.organizationId, service.organizationId]) {
      await addEvent(service.core.storage, organizationId);
      await sealing.sealer().seal();
    }
    await organizations.createOrganization({ name: "One more" });
    await newUser(theirs.organizationId);
    await service
      .client(ApiKeyService, theirs.headers)
      .createApiKey({ name: "one more", permissions: ["calls.read"] });
  });

  for (const { method, fields } of LISTS) {
    test(`of ${method} is taken whole and unchanged, or not at all`, async () => {
      const good = await firstToken(method);
      assert.equal(await call(method, { pageSize: 1, pageToken: good }, ...fields), "accepted");
      const bytes = Buffer.from(good, "base64url");
      const other = (letter: string) => (letter === "A" ? "B" : "A");
      const tampered = [
        ...[...bytes.keys()].flatMap((at) =>
          [1, 0x80, 0xff].map((bits) => {
            const changed = Buffer.from(bytes);
            changed.writeUInt8(changed.readUInt8(at) ^ bits, at);
            return changed.toString("base64url");
          }),
        ),
        ...[...good].map((letter, at) => good.slice(0, at) + other(letter) + good.slice(at + 1)),
        ...[...good].map((_, at) => good.slice(0, at)).filter((text) => text !== ""),
        ...[...good].map((_, at) => good.slice(at + 1)).filter((text) => text !== ""),
        `${good}A`,
        `A${good}`,
        `${good}=`,
        `${good} `,
        ` ${good}`,
        `${good}\0`,
        good + good,
        good.toLowerCase(),
        randomBytes(32).toString("base64url"),
        Buffer.alloc(32).toString("base64url"),
        "x",
        "0",
        "-1",
        "null",
        ...["' or true --", bytes.toString("hex"), bytes.toString("base64"), nobody, "A".repeat(512)],
      ].filter((text) => text !== good && Buffer.from(text, "base64").toString("base64url") !== "");
      const rows = [...new Set(tampered)].map((text) => ({
        name: shown(text),
        text,
        outcome: "PAGE_TOKEN_INVALID",
      }));
      await assertRefused(rows, ({ text }) => call(method, { pageSize: 1, pageToken: text }, ...fields));
    });
  }

  test("of one list is none of another, nor of another organization's", async () => {
    const organizationId = theirs.organizationId;
    const tokens = [
      ...(await Promise.all(
        LISTS.map(async ({ method }) => ({ of: method, text: await firstToken(method) })),
      )),
      ...(await Promise.all(
        ["ApiKeyService/ListApiKeys", "UserService/ListUsers"].map(async (method) => ({
          of: `${method} of theirs`,
          text: await firstToken(method, { organizationId }),
        })),
      )),
      ...(await Promise.all(
        [
          { state: "API_KEY_STATE_ACTIVE" },
          { ownerId: service.admin.id },
          { nameContains: "one" },
          { environment: "test" },
        ].map(async (filter) => ({
          of: JSON.stringify(filter),
          text: await firstToken("ApiKeyService/ListApiKeys", filter),
        })),
      )),
    ];
    const rows = LISTS.flatMap(({ method }) =>
      tokens
        .filter(({ of }) => of !== method)
        .map(({ of, text }) => ({ name: `${of} to ${method}`, method, text, outcome: "PAGE_TOKEN_INVALID" })),
    );
    await assertRefused(rows, ({ method, text }) => call(method, { pageToken: text }, platform));
  });

  /** What takes away the last row of a list. */
  const LAST: Readonly<Record<string, string>> = {
    "ApiKeyService/ListApiKeys": `with k as (select max(id::text)::uuid as id from api_keys where organization_id = $1),
      s as (delete from api_key_slots where api_key_id = (select id from k))
      delete from api_keys where id = (select id from k)`,
    "UserService/ListUsers":
      "delete from memberships where id = (select max(id::text)::uuid from memberships where organization_id = $1)",
    "RoleService/ListRoles":
      "delete from roles where id = (select max(id::text)::uuid from roles where organization_id = $1)",
    "OrganizationService/ListOrganizations": `with o as (select max(id::text)::uuid as id from organizations where id <> $1),
      r as (delete from roles where organization_id = (select id from o))
      delete from organizations where id = (select id from o)`,
    "ServiceKeyService/ListServiceKeys": `with k as (select max(id::text)::uuid as id from service_keys where id <> $1),
      s as (delete from service_key_slots where service_key_id = (select id from k))
      delete from service_keys where id = (select id from k)`,
    "AuditService/ListAuditEvents":
      "delete from audit_events where id = (select id from audit_events where chain = $1 order by occur_time, id limit 1)",
    "AuditService/ListAuditCheckpoints":
      "delete from audit_checkpoints where id = (select min(id::text)::uuid from audit_checkpoints where chain = $1)",
  };

  for (const { method } of LISTS) {
    test(`of ${method} leads through every row once, and past the last to an empty page that is the last`, async () => {
      const page = async (body: object) => {
        const text = JSON.stringify(body);
        const answer = await callHttp1(service.port, `/latchkey.v1.${method}`, [platform], text);
        const { nextPageToken: next = "", ...list } = JSON.parse(answer.body.toString());
        // The public keys of checkpoints are texts.
        const lists = Object.values(list) as { id: string }[][];
        const rows = lists.find(([row]) => typeof row === "object") ?? [];
        return { ids: rows.map(({ id }) => id), next: next as string };
      };
      await roles.createRole({ name: `r-${randomUUID()}` });
      await users.createUser({ email: `${randomUUID()}@acme.test`, password: randomUUID(), role: "viewer" });
      const whole = await page({ pageSize: 250 });
      assert.equal(whole.next, "");
      const ids: string[] = [];
      const tokens = [""];
      for (const pageToken of tokens) {
        const one = await page({ pageSize: 1, pageToken });
        ids.push(...one.ids);
        tokens.push(...(one.next === "" ? [] : [one.next]));
      }
      assert.deepEqual(ids, whole.ids);
      await query(service.connection, LAST[method] ?? assert.fail(), [service.organizationId]);
      assert.deepEqual((await page({ pageSize: 250 })).ids, ids.slice(0, -1));
      for (const pageSize of [0, 1, 250]) {
        assert.deepEqual(await page({ pageSize, pageToken: tokens.at(-1) }), { ids: [], next: "" });
      }
    });
  }

  test("of another deployment is none of this one's", async () => {
    const stranger = await startService();
    try {
      const strangers = stranger.client(OrganizationService, { "x-internal-key": stranger.internalKey });
      await strangers.createOrganization({ name: "Second" });
      const { nextPageToken } = await strangers.listOrganizations({ pageSize: 1 });
      const rows = [{ name: nextPageToken, outcome: "PAGE_TOKEN_INVALID" }];
      await assertRefused(rows, ({ name }) =>
        call("OrganizationService/ListOrganizations", { pageToken: name }, platform),
      );
    } finally {
      await stranger.stop();
    }
  });
});
