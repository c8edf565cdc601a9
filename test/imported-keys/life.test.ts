import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { hash as argon2Hash } from "@node-rs/argon2";
import { v4 as uuidv4 } from "uuid";
import { addOrganization, addServiceKey, addUser, makePassword, type Password } from "../access/cast.ts";
import { statementsOf } from "../storage/statements.ts";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import {
  ApiKeyService,
  AuthenticationService,
  OrganizationService,
  ServiceKeyService,
  startService,
  type TestService,
  UserService,
} from "../support/service.ts";
import {
  hashOf,
  importKey,
  KeyAlphabet,
  KeyHashAlgorithm,
  type KeyInit,
  keyOf,
  oldKey,
  present,
  randomText,
  refusalOf,
  untilRehashed,
} from "./import.ts";

let service: TestService;
let password: Password;
before(async () => {
  service = await startService();
  password = await makePassword(service.core);
});
after(() => service.stop());

const internal = () => ({ "x-internal-key": service.internalKey });
const keys = () => service.client(ApiKeyService, internal());

const ARGON2 = { hashing: { algorithm: KeyHashAlgorithm.ARGON2 } } as const;

/** The same key by a salted hash, as cheap as one can be. */
async function saltedKeyOf(text: string, more: KeyInit = {}): Promise<KeyInit> {
  const hash = Buffer.from(await argon2Hash(text, { memoryCost: 1024, timeCost: 1 }));
  return keyOf(text, { hash, lookupPrefix: text.slice(0, 16), ...more });
}

/** Both ways by which a key is found before its first use. */
const WAYS = [
  {
    way: "an unsalted hash",
    importIt: (text: string, more?: KeyInit) => importKey(service, keyOf(text, more)),
  },
  {
    way: "a salted hash",
    importIt: async (text: string, more?: KeyInit) =>
      await importKey(service, await saltedKeyOf(text, more), ARGON2),
  },
] as const;

for (const { way, importIt } of WAYS) {
  test(`with ${way}: imported, used, at home in a slot without the foreign hash, and revoked`, async () => {
    const text = oldKey();
    const id = await importIt(text, { permissions: ["calls.read", "calls.write"] });
    const before = (await keys().getApiKey({ id })).apiKey;
    assert.deepEqual([before?.imported, before?.slots, before?.displayPrefix], [true, [], ""]);

    const answer = await present(service, text);
    assert.deepEqual(
      [answer.principal?.id, answer.organization?.id, answer.permissions],
      [id, service.organizationId, ["calls.read", "calls.write"]],
    );
    await untilRehashed(service, id);
    assert.deepEqual(await hashOf(service, id), { rehashed: true, salted_hash: null, lookup_prefix: null });
    const slots = (await keys().getApiKey({ id })).apiKey?.slots ?? [];
    assert.deepEqual(
      slots.map(({ slot, displayPrefix, expireTime }) => [slot, displayPrefix, expireTime]),
      [[1, text.slice(0, 8), undefined]],
    );

    const again = await present(service, text);
    const { organization, revision, cacheTags } = answer;
    assert.deepEqual({ ...again, organization, revision, cacheTags }, answer);
    assert.ok(cacheTags.length > 0 && cacheTags.every((tag) => again.cacheTags.includes(tag)));
    await keys().revokeApiKey({ id });
    assert.equal(await refusalOf(service, text), "API_KEY_REVOKED");
  });

  test(`with ${way}: from its second use on it takes two statements, and hashes nothing that is dear`, async () => {
    const text = oldKey();
    const id = await importIt(text);
    await present(service, text);
    await untilRehashed(service, id);
    const statements = await statementsOf(() => present(service, text));
    assert.ok(statements.length <= 2, statements.join("\n"));
  });

  test(`with ${way}: it is good as a bearer token as well, and bad where it is not the whole text`, async () => {
    const text = oldKey();
    const id = await importIt(text);
    assert.equal((await present(service, text, "Authorization")).principal?.id, id);
    await untilRehashed(service, id);
    assert.equal((await present(service, text, "Authorization")).principal?.id, id);
    assert.equal(await refusalOf(service, text, "X-Internal-Key"), "SERVICE_KEY_INVALID");
    assert.equal(await refusalOf(service, `${text.slice(0, -1)}.`, "Authorization"), "TOKEN_INVALID");
    const other = `${text.slice(0, -1)}${text.endsWith("0") ? "1" : "0"}`;
    assert.equal(await refusalOf(service, other, "Authorization"), "API_KEY_INVALID");
  });

  test(`with ${way}: an import on one replica is in force on another's next call, and so is its end`, async () => {
    const replica = await startService({ beside: service });
    try {
      const text = oldKey();
      assert.equal(await refusalOf(replica, text), "API_KEY_INVALID");
      const id = await importIt(text);
      assert.equal((await present(replica, text)).principal?.id, id);
      await untilRehashed(service, id);
      for (const each of [service, replica]) {
        assert.equal((await present(each, text)).principal?.id, id);
      }
      await keys().revokeApiKey({ id });
      assert.equal(await refusalOf(replica, text), "API_KEY_REVOKED");
    } finally {
      await replica.stop();
    }
  });

  test(`with ${way}: what is true of a key is true before its first use already`, async () => {
    const organizationId = await addOrganization(service.core);
    const owner = await addUser(service.core, { organizationId, role: "member", password });
    const of = { organizationId, ownerId: owner.id };
    const importFor = async (text: string, more?: KeyInit, use = true) => {
      const id = await importKey(
        service,
        way === "a salted hash" ? await saltedKeyOf(text, more) : keyOf(text, more),
        way === "a salted hash" ? { ...ARGON2, ...of } : of,
      );
      if (use) {
        await present(service, text);
        await untilRehashed(service, id);
      }
      return id;
    };
    // One that was used, and one that was not: whatever happens, both are answered alike.
    for (const use of [false, true]) {
      const expiring = oldKey();
      const inAWhile = { seconds: BigInt(Math.floor(Date.now() / 1000) + 3600), nanos: 0 };
      const expiringId = await importFor(expiring, { expireTime: inAWhile }, use);
      await query(
        service.connection,
        "update api_keys set expire_time = now() - interval '1 second' where id = $1",
        [expiringId],
      );
      assert.equal(await refusalOf(service, expiring), "API_KEY_EXPIRED");

      const revoked = oldKey();
      await keys().revokeApiKey({ id: await importFor(revoked, {}, use) });
      assert.equal(await refusalOf(service, revoked), "API_KEY_REVOKED");

      const bound = oldKey();
      const boundId = await importFor(bound, {}, use);
      await query(
        service.connection,
        "update api_keys set allowed_cidrs = '{203.0.113.0/24}' where id = $1",
        [boundId],
      );
      assert.equal(await refusalOf(service, bound), "CLIENT_ADDRESS_REQUIRED");

      // Patterns reach as far as the owner's role, and no further.
      const wide = oldKey();
      await importFor(wide, { permissions: ["*"] }, use);
      const { permissions } = await present(service, wide);
      assert.ok(permissions.includes("calls.write") && !permissions.some((name) => name.startsWith("auth.")));

      const named = oldKey();
      await importFor(named, {}, use);
      const client = service.client(AuthenticationService);
      const headers = [{ name: "X-API-Key", value: named }];
      await refusedWith("ORGANIZATION_MISMATCH", client.authenticate({ headers, organizationId: uuidv4() }));
      await refusedWith(
        "PERMISSION_DENIED",
        client.authenticate({ headers, requiredPermissions: ["calls.write"] }),
      );

      const organizations = service.client(OrganizationService, internal());
      await organizations.updateOrganization({ id: organizationId, suspended: true });
      assert.equal(await refusalOf(service, named), "ORGANIZATION_SUSPENDED");
      await organizations.updateOrganization({ id: organizationId, suspended: false });
      assert.equal(await refusalOf(service, named), undefined);

      const users = service.client(UserService, { ...internal(), "x-org-id": organizationId });
      await users.updateUser({ id: owner.id, disabled: true });
      assert.equal(await refusalOf(service, named), "API_KEY_CREATOR_INACTIVE");
      await users.updateUser({ id: owner.id, disabled: false });
      assert.equal(await refusalOf(service, named), undefined);
    }
  });

  test(`with ${way}: its holder can revoke it by its text alone`, async () => {
    for (const use of [false, true]) {
      const text = oldKey();
      const id = await importIt(text);
      if (use) {
        await present(service, text);
        await untilRehashed(service, id);
      }
      const anybody = service.client(ApiKeyService);
      await refusedWith("API_KEY_INVALID", anybody.revokeOwnApiKey({ apiKey: `${text.slice(0, -1)}!` }));
      await refusedWith("API_KEY_INVALID", anybody.revokeOwnApiKey({ apiKey: oldKey() }));
      await anybody.revokeOwnApiKey({ apiKey: text, reason: "found in a repository" });
      assert.equal(await refusalOf(service, text), "API_KEY_REVOKED");
    }
  });
}

test("an internal key owns what it imports for nobody else, and its end is theirs", async () => {
  const importer = await addServiceKey(service.core, { permissions: ["*"] });
  const text = oldKey();
  await service.client(ApiKeyService, { "x-internal-key": importer.text }).importApiKeys({
    organizationId: service.organizationId,
    format: { prefix: "old_", length: 40, alphabet: KeyAlphabet.BASE62 },
    hashing: { algorithm: KeyHashAlgorithm.SHA256 },
    mode: 1,
    keys: [keyOf(text)],
  });
  const { principal } = await present(service, text);
  const key = (await keys().getApiKey({ id: principal?.id ?? "" })).apiKey;
  assert.deepEqual([key?.ownerId, key?.creatorId], [importer.id, importer.id]);
  await service.client(ServiceKeyService, internal()).revokeServiceKey({ id: importer.id });
  assert.equal(await refusalOf(service, text), "API_KEY_CREATOR_INACTIVE");
});

test("rotation before the first use: both secrets work, then the one that is left", async () => {
  for (const use of ["never", "before", "meanwhile"] as const) {
    const importAndRotate = async () => {
      const text = oldKey();
      const id = await importKey(service, keyOf(text));
      if (use === "before") {
        await present(service, text);
        await untilRehashed(service, id);
      }
      const { secret } = await keys().rotateApiKey({ id, overlap: { seconds: 3600n } });
      if (use === "meanwhile") {
        await present(service, text);
        await untilRehashed(service, id);
      }
      await refusedWith("ROTATION_IN_PROGRESS", keys().rotateApiKey({ id, overlap: { seconds: 3600n } }));
      assert.deepEqual([await refusalOf(service, secret)], [undefined], use);
      return { text, id, secret };
    };
    const finished = await importAndRotate();
    await keys().finishRotation({ id: finished.id });
    assert.equal(await refusalOf(service, finished.text), "API_KEY_ROTATED", use);
    assert.equal(await refusalOf(service, finished.secret), undefined, use);

    const cancelled = await importAndRotate();
    await keys().cancelRotation({ id: cancelled.id });
    assert.equal(await refusalOf(service, cancelled.text), undefined, use);
    assert.equal(await refusalOf(service, cancelled.secret), "API_KEY_INVALID", use);
    await untilRehashed(service, cancelled.id);
    const slots = (await keys().getApiKey({ id: cancelled.id })).apiKey?.slots;
    assert.deepEqual(
      slots?.map(({ displayPrefix, expireTime }) => [displayPrefix, expireTime]),
      [[cancelled.text.slice(0, 8), undefined]],
      use,
    );
  }
});

test("an overlap that is over ends the foreign hash, used or not", async () => {
  const text = oldKey();
  const id = await importKey(service, keyOf(text));
  await keys().rotateApiKey({ id, overlap: { seconds: 0n } });
  assert.equal(await refusalOf(service, text), "API_KEY_ROTATED");
  await refusedWith("API_KEY_ROTATED", service.client(ApiKeyService).revokeOwnApiKey({ apiKey: text }));
  await refusedWith("ROTATION_NOT_IN_PROGRESS", keys().cancelRotation({ id }));
  // And so it stays when it comes into a slot.
  await untilRehashed(service, id);
  assert.equal(await refusalOf(service, text), "API_KEY_ROTATED");
});

test("keys without a prefix, of every alphabet, and beside each other in all formats", async () => {
  const alphabets = [
    [KeyAlphabet.HEX, "0123456789abcdef"],
    [KeyAlphabet.BASE62, undefined],
    [KeyAlphabet.BASE64URL, "AZaz09-_"],
    [KeyAlphabet.PRINTABLE, "AZaz09-_!#$%&*+/=?^~|"],
  ] as const;
  const made: { text: string; id: string }[] = [];
  for (const [alphabet, digits] of alphabets) {
    const text = randomText(32, digits);
    const format = { prefix: "", length: 32, alphabet };
    made.push({ text, id: await importKey(service, keyOf(text), { format }) });
  }
  for (let turn = 0; turn < 2; turn++) {
    for (const { text, id } of made) {
      assert.equal((await present(service, text)).principal?.id, id);
      await untilRehashed(service, id);
    }
  }
});

test("the trace of an imported key says what was looked at, and nothing of its text", async () => {
  const text = oldKey();
  const id = await importKey(service, keyOf(text));
  const client = service.client(AuthenticationService, internal());
  for (const use of ["before its first use", "afterwards"]) {
    const headers = [{ name: "X-API-Key", value: text }];
    const explained = await client.explain({ request: { headers } });
    assert.equal(explained.allowed, true, use);
    const steps = explained.steps.map(({ name }) => name);
    assert.deepEqual(steps.slice(3, 7), ["credential", "form", "secret", "revocation"]);
    assert.ok(!JSON.stringify(explained.steps).includes(text.slice(8)));
    await present(service, text);
    await untilRehashed(service, id);
  }
  const wrong = { headers: [{ name: "X-API-Key", value: oldKey() }] };
  const explained = await client.explain({ request: wrong });
  assert.deepEqual([explained.reason, explained.steps.at(-1)?.name], ["API_KEY_INVALID", "secret"]);
  const unlike = { headers: [{ name: "X-API-Key", value: "no-key-of-anybody" }] };
  assert.equal((await client.explain({ request: unlike })).steps.at(-1)?.name, "form");
});

test("whoever may not import is refused, be it an owner", async () => {
  const { organizationId } = service;
  const owner = await addUser(service.core, { organizationId, role: "owner", password });
  const token = await service.logIn(owner.email, password.text);
  const weak = await addServiceKey(service.core, { permissions: ["auth.*", "platform.api_keys.write"] });
  for (const headers of [{ authorization: `Bearer ${token}` }, { "x-internal-key": weak.text }]) {
    const call = service.client(ApiKeyService, headers).importApiKeys({
      organizationId,
      ownerId: owner.id,
      format: { prefix: "old_", length: 40, alphabet: KeyAlphabet.BASE62 },
      hashing: { algorithm: KeyHashAlgorithm.SHA256 },
      mode: 1,
      keys: [keyOf(oldKey())],
    });
    assert.equal(await reasonOf(call), "PERMISSION_DENIED");
  }
});
