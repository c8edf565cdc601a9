import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, describe, test } from "node:test";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { Reason } from "../../src/errors.ts";
import { query } from "../support/cluster.ts";
import {
  ApiKeyService,
  OrganizationService,
  ServiceKeyService,
  startService,
  UserService,
} from "../support/service.ts";
import { join } from "../users/people.ts";
import { BASE62, keyText, nextLetter, otherCase, partsOf, replaceAt } from "./key-text.ts";
import { assertOutcomes, shown } from "./outcomes.ts";
import { callHttp1, type Field, verdictOf } from "./raw-call.ts";

/** What the database was asked about credentials. */
const asked: string[] = [];

const service = await startService({
  wrapCore: (core) => ({
    ...core,
    storage: {
      ...core.storage,
      verify: async (name, sql, values) => {
        asked.push(name);
        return await core.storage.verify(name, sql, values);
      },
    },
  }),
});
after(() => service.stop());

const token = await service.logIn();
const admin = { authorization: `Bearer ${token}` };
const apiKeys = service.client(ApiKeyService, admin);
const serviceKeys = service.client(ServiceKeyService, admin);
const organizations = service.client(OrganizationService, admin);

const AUTHENTICATE = "/latchkey.v1.AuthenticationService/Authenticate";
const WHO_AM_I = "/latchkey.v1.AuthenticationService/WhoAmI";

async function answerTo(fields: readonly Field[], more: object = {}) {
  const headers = fields.map(([name, value]) => ({ name, value }));
  return await callHttp1(service.port, AUTHENTICATE, [], JSON.stringify({ headers, ...more }));
}

async function ask(fields: readonly Field[], more: object = {}): Promise<string> {
  return verdictOf(await answerTo(fields, more));
}

/** The two kinds of key, each with what makes one and what refuses one that is not ours. */
const KINDS = [
  {
    kind: "API key",
    header: "X-API-Key",
    invalid: "API_KEY_INVALID",
    good: service.apiKey,
    make: async (more: { allowedCidrs?: string[]; expireTime?: Date } = {}) =>
      await apiKeys.createApiKey({ name: "made", permissions: ["calls.read"], ...message(more) }),
  },
  {
    kind: "internal key",
    header: "X-Internal-Key",
    invalid: "SERVICE_KEY_INVALID",
    good: service.internalKey,
    make: async (more: { allowedCidrs?: string[]; expireTime?: Date } = {}) =>
      await serviceKeys.createServiceKey({ name: randomUUID(), ...message(more) }),
  },
] as const;

function message({ allowedCidrs = [], expireTime }: { allowedCidrs?: string[]; expireTime?: Date }) {
  return { allowedCidrs, ...(expireTime && { expireTime: timestampFromDate(expireTime) }) };
}

/** Every text that is near to a key and is not it. */
function* nearTo(good: string): Generator<readonly [name: string, text: string]> {
  const letters = [...good];
  for (const [at, letter] of letters.entries()) {
    yield [`its first ${at} letters`, good.slice(0, at)];
    yield [`letter ${at} in the other case`, replaceAt(good, at, otherCase(letter))];
    yield [`letter ${at} changed`, replaceAt(good, at, nextLetter(letter))];
    yield [`letter ${at} a line`, replaceAt(good, at, "_")];
    yield [`letter ${at} a sign`, replaceAt(good, at, "-")];
    yield [`letter ${at} left out`, replaceAt(good, at, "")];
    yield [`letter ${at} doubled`, replaceAt(good, at, letter + letter)];
    yield [
      `letters ${at} and ${at + 1} swapped`,
      replaceAt(replaceAt(good, at, letters[at + 1] ?? ""), at + 1, letter),
    ];
    if (at > 0) {
      yield [`without its first ${at} letters`, good.slice(at)];
    }
  }
  for (const letter of [...BASE62, "_", "=", "."]) {
    yield [`with ${letter} after it`, good + letter];
    yield [`with ${letter} before it`, letter + good];
  }
  yield ["twice", good + good];
  yield ["with 10,000 letters after it", good + "0".repeat(10_000)];
}

/** Texts whose checksum fits, and which no key has. */
function* forgedFrom(good: string): Generator<readonly [name: string, text: string]> {
  const parts = partsOf(good);
  const { prefix, lookupId, secret } = parts;
  for (const at of [...secret].keys()) {
    yield [
      `letter ${at} of the secret changed`,
      keyText({ ...parts, secret: replaceAt(secret, at, nextLetter(secret[at])) }),
    ];
  }
  for (const at of [...lookupId].keys()) {
    yield [
      `letter ${at} of the lookup id changed`,
      keyText({ ...parts, lookupId: replaceAt(lookupId, at, nextLetter(lookupId[at])) }),
    ];
  }
  for (const other of [
    "ak",
    "sk",
    "AK",
    "SK",
    "Ak",
    "ak2",
    "pk",
    "a",
    "",
    "k",
    "__proto__",
    "constructor",
    "toString",
  ]) {
    if (other !== prefix) {
      yield [`the prefix "${other}"`, keyText({ ...parts, prefix: other })];
    }
  }
  for (const label of [
    "test",
    "live",
    "a",
    "x".repeat(12),
    "x".repeat(13),
    "",
    "Test",
    "1st",
    "t-t",
    "test_test",
  ]) {
    yield [`the label "${label}"`, keyText({ ...parts, prefix: `${prefix}_${label}` })];
    yield [`the label "${label}" and the old checksum`, good.replace("_", `_${label}_`)];
  }
  yield ["a shorter secret", keyText({ ...parts, secret: secret.slice(1) })];
  yield ["a longer secret", keyText({ ...parts, secret: `${secret}0` })];
  yield ["no secret", keyText({ ...parts, secret: "" })];
  yield ["a shorter lookup id", keyText({ ...parts, lookupId: lookupId.slice(1) })];
  yield ["a longer lookup id", keyText({ ...parts, lookupId: `${lookupId}0` })];
}

/** A user of an organization who made an API key there, which is what makes them its owner. */
async function keyOfAnotherUser(organizationId: string) {
  const email = `${randomUUID()}@acme.test`;
  const password = randomUUID();
  const { id: userId } = await join(service, admin, { organizationId, email, password, role: "admin" });
  const theirs = { authorization: `Bearer ${await service.logIn(email, password)}` };
  const { secret } = await service
    .client(ApiKeyService, theirs)
    .createApiKey({ name: "theirs", permissions: ["calls.read"] });
  return { secret, userId };
}

async function keyOfInternalKey() {
  const { secret: internalKey, serviceKey } = await serviceKeys.createServiceKey({ name: randomUUID() });
  const headers = { "x-internal-key": internalKey, "x-org-id": service.organizationId };
  const { secret } = await service
    .client(ApiKeyService, headers)
    .createApiKey({ name: "by a service", permissions: ["calls.read"] });
  return { secret, id: serviceKey?.id ?? assert.fail() };
}

async function organization(name: string): Promise<string> {
  const created = await organizations.createOrganization({ name });
  return created.organization?.id ?? assert.fail();
}

const suspendedId = await organization("Suspended");
const inDatabase = async (sql: string, id: string | undefined) => {
  await query(service.connection, sql, [id]);
};

/** Keys in every state, by what brings it about. `fields` come beside the key. */
const STATES: readonly {
  readonly state: string;
  readonly header: "X-API-Key" | "X-Internal-Key";
  readonly outcome: Reason | "accepted";
  readonly make: () => Promise<string>;
  readonly fields?: readonly Field[];
}[] = [
  ...KINDS.flatMap(({ kind, header, make }) => {
    const word = kind === "API key" ? "API_KEY" : "SERVICE_KEY";
    const table = kind === "API key" ? "api_key" : "service_key";
    const idOf = (made: Awaited<ReturnType<typeof make>>) =>
      "apiKey" in made ? made.apiKey?.id : "serviceKey" in made ? made.serviceKey?.id : undefined;
    const changed = (sql: string) => async () => {
      const made = await make();
      await inDatabase(sql, idOf(made));
      return made.secret;
    };
    return [
      { state: `a good ${kind}`, header, outcome: "accepted", make: async () => (await make()).secret },
      {
        state: `an ${kind} that ends later`,
        header,
        outcome: "accepted",
        make: async () => (await make({ expireTime: new Date(Date.now() + 3_600_000) })).secret,
      },
      {
        state: `an ${kind} that was revoked`,
        header,
        outcome: `${word}_REVOKED`,
        make: async () => {
          const made = await make();
          const id = idOf(made) ?? assert.fail();
          await (kind === "API key" ? apiKeys.revokeApiKey({ id }) : serviceKeys.revokeServiceKey({ id }));
          return made.secret;
        },
      },
      {
        state: `an ${kind} that ends now`,
        header,
        outcome: `${word}_EXPIRED`,
        make: changed(`update ${table}s set expire_time = now() where id = $1`),
      },
      {
        state: `an ${kind} that ended in another age`,
        header,
        outcome: `${word}_EXPIRED`,
        make: changed(`update ${table}s set expire_time = '-infinity' where id = $1`),
      },
      {
        state: `an ${kind} whose slot has ended`,
        header,
        outcome: `${word}_ROTATED`,
        make: changed(`update ${table}_slots set expire_time = now() where ${table}_id = $1`),
      },
      {
        state: `an ${kind} that is bound to an address`,
        header,
        outcome: "CLIENT_ADDRESS_REQUIRED",
        make: async () => (await make({ allowedCidrs: ["203.0.113.0/24"] })).secret,
      },
    ] as const;
  }),
  {
    state: "an API key of a user who is disabled",
    header: "X-API-Key",
    outcome: "API_KEY_CREATOR_INACTIVE",
    make: async () => {
      const { secret, userId } = await keyOfAnotherUser(service.organizationId);
      await service.client(UserService, admin).updateUser({ id: userId, disabled: true });
      return secret;
    },
  },
  {
    state: "an API key of a user whose membership is pending",
    header: "X-API-Key",
    outcome: "API_KEY_CREATOR_INACTIVE",
    make: async () => {
      const { secret, userId } = await keyOfAnotherUser(service.organizationId);
      await inDatabase("update memberships set accept_time = null where user_id = $1", userId);
      return secret;
    },
  },
  {
    state: "an API key of an internal key that was revoked",
    header: "X-API-Key",
    outcome: "API_KEY_CREATOR_INACTIVE",
    make: async () => {
      const { secret, id } = await keyOfInternalKey();
      await serviceKeys.revokeServiceKey({ id });
      return secret;
    },
  },
  {
    state: "an API key of an internal key that has ended",
    header: "X-API-Key",
    outcome: "API_KEY_CREATOR_INACTIVE",
    make: async () => {
      const { secret, id } = await keyOfInternalKey();
      await inDatabase("update service_keys set expire_time = now() where id = $1", id);
      return secret;
    },
  },
  {
    state: "an API key of an organization that is suspended",
    header: "X-API-Key",
    outcome: "ORGANIZATION_SUSPENDED",
    make: async () => {
      await organizations.updateOrganization({ id: suspendedId, suspended: false });
      const { secret } = await keyOfAnotherUser(suspendedId);
      await organizations.updateOrganization({ id: suspendedId, suspended: true });
      return secret;
    },
  },
  {
    state: "an internal key for an organization that is suspended",
    header: "X-Internal-Key",
    outcome: "ORGANIZATION_SUSPENDED",
    make: async () => service.internalKey,
    fields: [["X-Org-Id", suspendedId]],
  },
  {
    state: "an internal key for an organization that does not exist",
    header: "X-Internal-Key",
    outcome: "ORGANIZATION_UNKNOWN",
    make: async () => service.internalKey,
    fields: [["X-Org-Id", randomUUID()]],
  },
];

/** Each made once: their order matters to nobody. */
const keys: { name: string; field: Field; fields: readonly Field[]; outcome: Reason | "accepted" }[] = [];
for (const { state, header, outcome, make, fields = [] } of STATES) {
  keys.push({ name: state, field: [header, await make()], fields, outcome });
}

for (const { kind, header, invalid, good } of KINDS) {
  const isOther = ([, text]: readonly [string, string]) => text !== good;
  const near = [...nearTo(good)].filter(isOther);
  const texts = [...near, ...[...forgedFrom(good)].filter(isOther)];

  test(`the ${kind} itself is good, and rebuilt from its parts`, async () => {
    assert.equal(await ask([[header, good]]), "accepted");
    assert.equal(keyText(partsOf(good)), good);
  });

  test(`no text near to the ${kind} is good, and its checksum tells without a question to the database`, async () => {
    // In `X-API-Key` comes what other systems' keys look like, too. What those look like is all that is asked.
    const mayBeForeign = (text: string) => header === "X-API-Key" && !text.startsWith("ak_");
    const rowsOf = (isForeign: boolean) =>
      near
        .filter(([, text]) => mayBeForeign(text) === isForeign)
        .map(([name, text]) => ({ name, text, outcome: invalid }));
    asked.length = 0;
    await assertOutcomes(rowsOf(false), ({ text }) => ask([[header, text]]));
    assert.deepEqual(asked, []);
    const foreign = rowsOf(true);
    if (foreign.length > 0) {
      await assertOutcomes(foreign, ({ text }) => ask([[header, text]]));
    }
    assert.deepEqual(
      asked.filter((name) => name !== "key formats"),
      [],
    );
    assert.ok(asked.length <= foreign.length);
  });

  test(`no text with a checksum that fits is good either, and all get the same answer to the byte`, async () => {
    const bodies = new Set<string>();
    await assertOutcomes(
      [...texts.slice(near.length), ...near.slice(0, 40)].map(([name, text]) => ({
        name,
        text,
        outcome: invalid,
      })),
      async ({ text }) => {
        const answer = await answerTo([[header, text]]);
        bodies.add(answer.body.toString());
        return verdictOf(answer);
      },
    );
    assert.equal(bodies.size, 1);
  });

  test(`no text near to the ${kind} is good as Bearer`, async () => {
    await assertOutcomes(
      texts
        // With a line in it, what comes before tells whether it is meant for an API key. Some are enough.
        .filter(([, text], at) => text.includes("_") && at % 3 === 0)
        .map(([name, text]) => ({
          name,
          text,
          // RFC 6750 section 2.1: no token begins with `=`.
          outcome: text.startsWith("=")
            ? "CREDENTIAL_MALFORMED"
            : text.startsWith("ak_")
              ? "API_KEY_INVALID"
              : "TOKEN_INVALID",
        })),
      ({ text }) => ask([["Authorization", `Bearer ${text}`]]),
    );
  });
}

test("a credential in another one's header is not good there", async () => {
  const rows: { name: string; field: Field; outcome: Reason }[] = [
    {
      name: "an API key in X-Internal-Key",
      field: ["X-Internal-Key", service.apiKey],
      outcome: "SERVICE_KEY_INVALID",
    },
    {
      name: "an internal key in X-API-Key",
      field: ["X-API-Key", service.internalKey],
      outcome: "API_KEY_INVALID",
    },
    {
      name: "an internal key as Bearer",
      field: ["Authorization", `Bearer ${service.internalKey}`],
      outcome: "TOKEN_INVALID",
    },
    { name: "a user token in X-API-Key", field: ["X-API-Key", token], outcome: "API_KEY_INVALID" },
    {
      name: "a user token in X-Internal-Key",
      field: ["X-Internal-Key", token],
      outcome: "SERVICE_KEY_INVALID",
    },
    {
      name: "Bearer in X-API-Key",
      field: ["X-API-Key", `Bearer ${service.apiKey}`],
      outcome: "CREDENTIAL_MALFORMED",
    },
    {
      name: "an API key as Basic",
      field: ["Authorization", `Basic ${service.apiKey}`],
      outcome: "CREDENTIAL_MISSING",
    },
    {
      name: "an API key without a scheme",
      field: ["Authorization", service.apiKey],
      outcome: "CREDENTIAL_MALFORMED",
    },
  ];
  await assertOutcomes(rows, ({ field }) => ask([field]));
});

describe("a key whose secret is right", () => {
  test("gets the reason of its state, asked about", async () => {
    await assertOutcomes(keys, ({ field, fields }) => ask([field, ...fields]));
  });

  test("gets the reason of its state as the call's own", async () => {
    const rows = keys.map((row) => ({
      ...row,
      // Here the service sees the address itself.
      outcome: row.outcome === "CLIENT_ADDRESS_REQUIRED" ? "CLIENT_ADDRESS_DENIED" : row.outcome,
    }));
    await assertOutcomes(rows, async ({ field, fields }) =>
      verdictOf(await callHttp1(service.port, WHO_AM_I, [field, ...fields])),
    );
  });

  test("gets the reason of its state as Bearer, if it is an API key", async () => {
    const rows = keys.filter(({ field: [header] }) => header === "X-API-Key");
    await assertOutcomes(rows, ({ field: [, text] }) => ask([["Authorization", `Bearer ${text}`]]));
  });
});

for (const { kind, header, invalid, good } of KINDS) {
  test(`with a wrong secret nothing tells the state of an ${kind}: the answer is the unknown one's, to the byte`, async () => {
    const unknown = await answerTo([[header, keyText({ ...partsOf(good), lookupId: "0".repeat(12) })]]);
    const rows = keys
      .filter(({ field: [name] }) => name === header)
      .map((row) => ({ ...row, outcome: invalid }));
    await assertOutcomes(rows, async ({ field: [, text], fields }) => {
      const parts = partsOf(text);
      const secret = replaceAt(parts.secret, 0, nextLetter(parts.secret[0]));
      const answer = await answerTo([[header, keyText({ ...parts, secret })], ...fields]);
      assert.equal(answer.body.toString(), unknown.body.toString());
      assert.equal(undated(answer.head), undated(unknown.head));
      return verdictOf(answer);
    });
  });
}

function undated(head: string): string {
  return head.replace(/^date: .*$/m, "");
}

/** An address as a number, and back. */
const V4 = {
  bits: 32,
  base: 0xcb00714dn,
  write: (address: bigint) => [24n, 16n, 8n, 0n].map((shift) => (address >> shift) & 255n).join("."),
};
const V6 = {
  bits: 128,
  base: 0x20010db8_12345678_9abcdef0_13579bdfn,
  write: (address: bigint) =>
    Array.from({ length: 8 }, (_, part) =>
      ((address >> BigInt(16 * (7 - part))) & 0xffffn).toString(16),
    ).join(":"),
};

describe("a key that is bound to addresses", () => {
  for (const { kind, header, make } of KINDS) {
    test(`${kind}: its range ends where the prefix says`, async () => {
      const lengths = [
        ...[0, 1, 7, 8, 9, 23, 24, 25, 31, 32].map((length) => ({ family: V4, length })),
        ...[0, 1, 32, 63, 64, 65, 127, 128].map((length) => ({ family: V6, length })),
      ];
      const rows = lengths.flatMap(({ family: { bits, base, write }, length }) => {
        const size = 1n << BigInt(bits - length);
        const first = base - (base % size);
        const range = `${write(first)}/${length}`;
        const last = first + size - 1n;
        return [
          { address: first, outcome: "accepted" },
          { address: base, outcome: "accepted" },
          { address: last, outcome: "accepted" },
          { address: first - 1n, outcome: "CLIENT_ADDRESS_DENIED" },
          { address: last + 1n, outcome: "CLIENT_ADDRESS_DENIED" },
        ]
          .filter(({ address }) => address >= 0n && address < 1n << BigInt(bits))
          .map(({ address, outcome }, at) => ({
            name: `${write(address)} in ${range}, ${at}`,
            range,
            clientAddress: write(address),
            outcome,
          }));
      });
      const secrets = new Map<string, string>();
      for (const { range } of rows) {
        secrets.set(range, secrets.get(range) ?? (await make({ allowedCidrs: [range] })).secret);
      }
      await assertOutcomes(rows, ({ range, clientAddress }) =>
        ask([[header, secrets.get(range) ?? ""]], { clientAddress }),
      );
    });

    test(`${kind}: any of its ranges will do, and an address of the other family is in none of them`, async () => {
      const { secret } = await make({ allowedCidrs: ["203.0.113.0/25", "198.51.100.7/32", "2001:db8::/32"] });
      const { secret: four } = await make({ allowedCidrs: ["0.0.0.0/0"] });
      const { secret: local } = await make({ allowedCidrs: ["127.0.0.0/8"] });
      const rows = [
        { text: secret, address: "203.0.113.127", outcome: "accepted" },
        { text: secret, address: "198.51.100.7", outcome: "accepted" },
        { text: secret, address: "2001:db8::1", outcome: "accepted" },
        { text: secret, address: "2001:DB8:0:0::1", outcome: "accepted" },
        { text: secret, address: "203.0.113.128", outcome: "CLIENT_ADDRESS_DENIED" },
        { text: secret, address: "198.51.100.6", outcome: "CLIENT_ADDRESS_DENIED" },
        { text: secret, address: "2001:db9::1", outcome: "CLIENT_ADDRESS_DENIED" },
        // RFC 4291 section 2.5.5.2: the same address, written otherwise. Section 2.5.5.1: not the same.
        { text: secret, address: "::ffff:203.0.113.1", outcome: "accepted" },
        { text: secret, address: "::ffff:cb00:7101", outcome: "accepted" },
        { text: secret, address: "::203.0.113.1", outcome: "CLIENT_ADDRESS_DENIED" },
        { text: secret, address: "::ffff:203.0.113.128", outcome: "CLIENT_ADDRESS_DENIED" },
        { text: four, address: "2001:db8::1", outcome: "CLIENT_ADDRESS_DENIED" },
        { text: four, address: "::1", outcome: "CLIENT_ADDRESS_DENIED" },
        { text: four, address: "fe80::1%eth0", outcome: "CLIENT_ADDRESS_INVALID" },
      ].map((row, at) => ({ ...row, name: `${row.address} ${at}` }));
      await assertOutcomes(rows, ({ text, address }) => ask([[header, text]], { clientAddress: address }));
      assert.equal(verdictOf(await callHttp1(service.port, WHO_AM_I, [[header, local]])), "accepted");
    });
  }

  test("is refused where the address is none, and so is a key that is not bound", async () => {
    const [{ make, header }] = KINDS;
    const { secret: bound } = await make({ allowedCidrs: ["0.0.0.0/0", "::/0"] });
    const { secret: free } = await make();
    const noAddresses = [
      ...["localhost", "203.0.113.7:80", "[::1]", "203.0.113.7/32", "203.0.113", "0x7f.0.0.1", "0177.0.0.1"],
      ...["2130706433", " 203.0.113.7", "203.0.113.7 ", "203.0.113.7\0", "203.0.113.7,198.51.100.7", ":::1"],
      ...["::ffff:203.0.113.256", "1:2:3:4:5:6:7:8:9", "\uff11.1.1.1", "*", "unknown"],
    ];
    const rows = noAddresses.map((address, at) => ({
      name: `"${shown(address)}"`,
      text: at % 2 === 0 ? bound : free,
      address,
      outcome: "CLIENT_ADDRESS_INVALID",
    }));
    await assertOutcomes(rows, ({ text, address }) => ask([[header, text]], { clientAddress: address }));
  });
});

test("neither an answer nor a line of the log repeats a secret", async () => {
  const secrets = [service.apiKey, service.internalKey, ...keys.map(({ field: [, text] }) => text)];
  for (const secret of secrets) {
    assert.deepEqual(
      service.logged.filter((line) => line.includes(partsOf(secret).secret)),
      [],
    );
  }
  for (const { field, fields } of keys) {
    const answer = await answerTo([field, ...fields]);
    assert.ok(!answer.body.includes(partsOf(field[1]).secret.slice(0, 12)));
  }
});
