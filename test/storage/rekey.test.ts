import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { type Rekeyed, rekey, type SealedColumn } from "../../src/changes/rekey.ts";
import { SigningKeyService } from "../../src/gen/latchkey/v1/signing_key_pb.ts";
import { SEALED_COLUMNS } from "../../src/sealed-columns.ts";
import { createSeal, SealBroken } from "../../src/storage/seal.ts";
import { addUser, makePassword } from "../access/cast.ts";
import { linesOf } from "../cli/operator.ts";
import { passMinutes } from "../credentials/signing-key-times.ts";
import { hmac, importKey, KeyHashAlgorithm, keyOf, oldKey, present } from "../imported-keys/import.ts";
import { query, urlOf } from "../support/cluster.ts";
import { cleanup, latchkey } from "../support/process.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import { ApiKeyService, AuthenticationService, startService, type TestService } from "../support/service.ts";

const OLD = randomBytes(32);
const NEW = randomBytes(32);
const oldHead = createSeal(OLD).head;
const newHead = createSeal(NEW).head;

let service: TestService;
before(async () => {
  service = await startService({ encryptionKey: OLD });
});
after(() => service.stop());

/** What is sealed under a key, or under any other, in the whole database. */
async function sealedUnder(head: Buffer, on = service): Promise<{ under: number; others: number }> {
  const sums = { under: 0, others: 0 };
  for (const { table, column } of SEALED_COLUMNS) {
    const [row] = await query<{ under: number; others: number }>(
      on.connection,
      `select (count(*) filter (where substring(${column} from 1 for $1) = $2))::int as under,
        (count(*) filter (where substring(${column} from 1 for $1) <> $2))::int as others
      from ${table} where ${column} is not null`,
      [head.length, head],
    );
    sums.under += row?.under ?? 0;
    sums.others += row?.others ?? 0;
  }
  return sums;
}

/** Fills the table whose rows are the most with values of one's own. */
async function addAnswers(on: TestService, count: number, secret = Buffer.from("answer")): Promise<void> {
  const { seal } = on.core;
  const callerId = "019a20ce-4b1c-75aa-8887-32c29f795e32";
  const values = Array.from({ length: count }, (_, at) => ({
    key: `k${at}`,
    sealed: seal.close(secret, `idempotency_keys/${callerId}/m/k${at}`).toString("hex"),
  }));
  await query(
    on.connection,
    `insert into idempotency_keys (caller_id, method, idempotency_key, request_digest, sealed_answer)
    select $1, 'm', key, '', decode(sealed, 'hex') from jsonb_to_recordset($2::jsonb) as r (key text, sealed text)`,
    [callerId, JSON.stringify(values)],
  );
}

const movedBy = (results: readonly Rekeyed[]) => results.reduce((sum, { moved }) => sum + moved, 0);
const partsOf = (on: TestService, key = NEW, previous = OLD) => ({
  storage: on.core.storage,
  seal: createSeal(key, previous),
});

/** Sealed under keys that are in no database and in no setting: those of the tokens that they belong to. */
const UNDER_OTHER_KEYS = ["refresh_tokens.sealed_successor"];

test("every column of sealed values is known to be one", async () => {
  const columns = await query<{ name: string }>(
    service.connection,
    `select table_name || '.' || column_name as name from information_schema.columns
    where table_schema = 'public' and column_name like 'sealed%'`,
  );
  assert.deepEqual(
    SEALED_COLUMNS.map(({ table, column }) => `${table}.${column}`).toSorted(),
    columns
      .map(({ name }) => name)
      .filter((name) => !UNDER_OTHER_KEYS.includes(name))
      .toSorted(),
  );
});

test("tokens, keys, imported keys and retries work before, while and after all is moved to another key, on replicas of all settings", async (t) => {
  const stack = cleanup(t);
  const begin = async (encryptionKey: Buffer, previousEncryptionKey?: Buffer) => {
    const replica = await startService({
      beside: service,
      encryptionKey,
      ...(previousEncryptionKey && { previousEncryptionKey }),
    });
    stack.defer(() => replica.stop());
    return replica;
  };
  const texts = [oldKey(), oldKey()] as const;
  const hmacSecret = randomBytes(32);
  const hashing = { algorithm: KeyHashAlgorithm.HMAC_SHA256, hmacSecret };
  await importKey(service, keyOf(texts[0], { hash: hmac(hmacSecret, texts[0]) }), { hashing });
  const tokens = [await service.logIn()];
  const secrets: string[] = [];
  const create = async (on: TestService, idempotencyKey: string) =>
    (
      await on
        .client(ApiKeyService, { "x-internal-key": service.internalKey, "x-org-id": service.organizationId })
        .createApiKey({ name: "once", permissions: ["calls.read"], idempotencyKey })
    ).secret;
  secrets.push(await create(service, "first"));

  /** All that there was before, and what this replica makes itself, works on each of them. */
  const work = async (replicas: readonly TestService[], round: string) => {
    for (const on of replicas) {
      tokens.push(await on.logIn());
      secrets.push(await create(on, `${round}-${replicas.indexOf(on)}`));
    }
    for (const on of replicas) {
      for (const token of tokens) {
        await present(on, token, "Authorization");
      }
      for (const secret of [...secrets, service.apiKey]) {
        await present(on, secret);
      }
      await present(on, service.internalKey, "X-Internal-Key");
      assert.equal(await create(on, "first"), secrets[0]);
    }
  };

  // The other key is made known everywhere first, then it takes its place.
  const both = await begin(OLD, NEW);
  const ahead = await begin(NEW, OLD);
  await work([service, both], "known");
  await work([both, ahead], "mixed");
  // The secret of a format that is declared now is sealed under the key that the other replica has as its previous.
  const later = randomBytes(32);
  await importKey(ahead, keyOf(texts[1], { hash: hmac(later, texts[1]) }), {
    hashing: { ...hashing, hmacSecret: later },
  });
  await present(both, texts[1]);
  await present(both, texts[0]);

  const load = { isOver: false, failures: [] as (string | undefined)[] };
  const calls = [both, ahead].map(async (on) => {
    for (let count = 0; count < 5 || !load.isOver; count++) {
      const reasons = await Promise.all([
        reasonOf(present(on, service.apiKey)),
        reasonOf(present(on, tokens[count % tokens.length] ?? "", "Authorization")),
        reasonOf(create(on, `load-${on.port}-${count % 4}`)),
      ]);
      load.failures.push(...reasons.filter((reason) => reason !== undefined));
    }
  });
  await addAnswers(service, 450);
  const command = latchkey(stack, ["rekey"], {
    env: {
      DATABASE_URL: urlOf(service.connection),
      LATCHKEY_ENCRYPTION_KEY: NEW.toString("base64"),
      LATCHKEY_ENCRYPTION_KEY_PREVIOUS: OLD.toString("base64"),
    },
  });
  assert.deepEqual(await command.ended(), { code: 0, signal: null }, command.stderr);
  load.isOver = true;
  await Promise.all(calls);
  assert.deepEqual(load.failures, []);
  const told = linesOf(command.stdout);
  assert.match(told[0] ?? "", /^peppers +1 moved$/);
  assert.match(command.stdout, /^Everything is encrypted under LATCHKEY_ENCRYPTION_KEY\./m);
  assert.ok(!command.stdout.includes(NEW.toString("base64")));

  await work([both, ahead], "moved");
  // Whatever the one that still seals under the old key has written meanwhile: what says that it can be dropped is
  // to be asked again once no such replica is left.
  await rekey(partsOf(service), SEALED_COLUMNS);
  assert.equal((await sealedUnder(newHead)).others, 0);
  const alone = await begin(NEW);
  await work([alone, ahead], "alone");
  await assert.rejects(begin(OLD), SealBroken);

  // And a signing key that is made now, or takes its turn.
  const keys = alone.client(SigningKeyService, { "x-internal-key": service.internalKey });
  await keys.rotateSigningKey({});
  await passMinutes(service.connection, 21);
  await work([alone, ahead], "rotated");
});

test("what was counted and begun before is so still: login failures, pages, keys of other uses", async () => {
  const first = await startService({ encryptionKey: OLD });
  const other = await startService({ beside: first, encryptionKey: NEW, previousEncryptionKey: OLD });
  try {
    for (const purpose of ["login throttle", "page tokens", "idempotent requests"]) {
      assert.deepEqual(other.core.keyHasher.deriveKey(purpose), first.core.keyHasher.deriveKey(purpose));
    }
    const password = await makePassword(first.core);
    const { organizationId } = first;
    const { email } = await addUser(first.core, { organizationId, role: "member", password });
    const page = { organizationId, pageSize: 1 };
    const asAdmin = { "x-internal-key": first.internalKey };
    const create = { name: "more", permissions: ["calls.read"], organizationId };
    await first.client(ApiKeyService, asAdmin).createApiKey(create);
    const { nextPageToken } = await first.client(ApiKeyService, asAdmin).listApiKeys(page);
    await rekey(partsOf(first), SEALED_COLUMNS);
    const rest = await other
      .client(ApiKeyService, asAdmin)
      .listApiKeys({ ...page, pageToken: nextPageToken });
    assert.equal(rest.apiKeys.length, 1);

    for (let at = 0; at < 10; at++) {
      await refusedWith("LOGIN_FAILED", (at % 2 ? first : other).logIn(email, "wrong"));
    }
    for (const on of [first, other]) {
      await refusedWith("LOGIN_FAILED", on.logIn(email, password.text));
    }
    const counted = await query(first.connection, "select from login_counters where failures = 10");
    assert.equal(counted.length, 1, "they were counted together");
  } finally {
    await other.stop();
    await first.stop();
  }
});

test("broken off anywhere, it goes on from there; several at once share the work; what is done is not done again", async () => {
  const own = await startService({ encryptionKey: OLD });
  try {
    await addAnswers(own, 900);
    const { under } = await sealedUnder(oldHead, own);
    const parts = partsOf(own);
    let batches = 0;
    const breaking = {
      ...parts,
      seal: {
        ...parts.seal,
        close: (secret: Uint8Array, place: string) => {
          if (place.endsWith("/k500")) {
            batches++;
            throw new Error("broken off");
          }
          return parts.seal.close(secret, place);
        },
      },
    };
    await assert.rejects(rekey(breaking, SEALED_COLUMNS), /broken off/);
    assert.equal(batches, 1);
    const half = await sealedUnder(newHead, own);
    assert.ok(half.under > 2 && half.others > 200, JSON.stringify(half));

    const results = await Promise.all(Array.from({ length: 3 }, () => rekey(partsOf(own), SEALED_COLUMNS)));
    assert.equal(
      results.map(movedBy).reduce((sum, moved) => sum + moved),
      half.others,
    );
    assert.deepEqual(await sealedUnder(newHead, own), { under, others: 0 });
    assert.equal(movedBy(await rekey(partsOf(own), SEALED_COLUMNS)), 0);
    const seal = createSeal(NEW);
    const rows = await query<{ caller_id: string; idempotency_key: string; sealed_answer: Buffer }>(
      own.connection,
      "select * from idempotency_keys",
    );
    assert.equal(rows.length, 900);
    for (const row of rows) {
      const place = `idempotency_keys/${row.caller_id}/m/${row.idempotency_key}`;
      assert.equal(seal.open(row.sealed_answer, place).toString(), "answer");
    }
  } finally {
    await own.stop();
  }
});

test("it is on record, and back again is the same way", async () => {
  const own = await startService({ encryptionKey: OLD });
  try {
    const last = await query<{ id: string }>(own.connection, "select max(id::text) as id from audit_events");
    await rekey(partsOf(own), SEALED_COLUMNS);
    const events = await query<{ actor_id: string; target_id: string; detail: unknown }>(
      own.connection,
      "select actor_id, target_id, detail from audit_events where action = 'encryption_key.rekey' and id::text > $1",
      [last[0]?.id],
    );
    const name = newHead.subarray(1).toString("hex");
    assert.deepEqual(
      events.map(({ target_id, detail }) => ({ target_id, detail })),
      ["peppers", "signing_keys", "audit_keys"].map((target_id) => ({
        target_id,
        detail: { rows: 1, after: { encryptionKey: name } },
      })),
    );
    await rekey(partsOf(own, OLD, NEW), SEALED_COLUMNS);
    assert.equal((await sealedUnder(oldHead, own)).others, 0);
  } finally {
    await own.stop();
  }
});

test("a value that opens under neither key stays as it is, is told, and keeps no other from being moved", async (t) => {
  const own = await startService({ encryptionKey: OLD });
  try {
    await addAnswers(own, 3);
    const foreign = createSeal(randomBytes(32)).close(Buffer.from("x"), "p");
    await query(
      own.connection,
      "update idempotency_keys set sealed_answer = $1 where idempotency_key = 'k1'",
      [foreign],
    );
    const env = {
      DATABASE_URL: urlOf(own.connection),
      LATCHKEY_ENCRYPTION_KEY: NEW.toString("base64"),
      LATCHKEY_ENCRYPTION_KEY_PREVIOUS: OLD.toString("base64"),
    };
    const command = latchkey(cleanup(t), ["rekey"], { env });
    assert.equal((await command.ended()).code, 1);
    assert.match(
      command.stderr,
      /^latchkey: 1 values? open.* under neither key.*: idempotency_keys\/.*\/m\/k1\n$/,
    );
    assert.doesNotMatch(command.stdout, /can be dropped/);
    assert.equal((await sealedUnder(newHead, own)).others, 1);
    const [kept] = await query<{ sealed_answer: Buffer }>(
      own.connection,
      "select sealed_answer from idempotency_keys where idempotency_key = 'k1'",
    );
    assert.deepEqual(kept?.sealed_answer, foreign);
  } finally {
    await own.stop();
  }
});

test("a value that was moved to another row, or to another table, is not taken along", async () => {
  const own = await startService({ encryptionKey: OLD });
  try {
    await addAnswers(own, 2);
    await query(
      own.connection,
      `update idempotency_keys k set sealed_answer = o.sealed_answer from idempotency_keys o
      where k.idempotency_key = 'k0' and o.idempotency_key = 'k1'`,
    );
    const columns: readonly SealedColumn[] = SEALED_COLUMNS;
    const results = await rekey(partsOf(own), columns);
    const broken = results.flatMap((result) => result.broken);
    assert.equal(broken.length, 1);
    assert.match(broken[0] ?? "", /\/m\/k0$/);
  } finally {
    await own.stop();
  }
});

test("without the previous key it moves nothing, and says so of every value", async () => {
  const own = await startService({ encryptionKey: OLD });
  try {
    const parts = { storage: own.core.storage, seal: createSeal(NEW) };
    const results = await rekey(parts, SEALED_COLUMNS);
    assert.equal(movedBy(results), 0);
    assert.equal(results.flatMap(({ broken }) => broken).length, 3);
    assert.equal((await sealedUnder(oldHead, own)).others, 0);
    await own.client(AuthenticationService, { "x-api-key": own.apiKey }).whoAmI({});
  } finally {
    await own.stop();
  }
});
