import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { Client } from "pg";
import { v4 as uuidv4, v7 as uuidv7 } from "uuid";
import { readCheckpoint, signCheckpoint } from "../../src/audit/checkpoint.ts";
import {
  eventDigest,
  NO_HASH,
  STORED_EVENT,
  type StoredEvent,
  sealHash,
} from "../../src/audit/sealed-form.ts";
import type { FaultKind } from "../../src/audit/verify-audit-log.ts";
import { runFrom } from "../../src/changes/call-origin.ts";
import { addOrganization } from "../access/cast.ts";
import { ISSUER, startService, type TestService } from "../support/service.ts";
import { addEvent, type Sealing, sealingOf } from "./sealing.ts";

// Whoever may write to the database as they like, but does not hold the encryption key.

const EVENTS = 12;
const TABLES = [
  "audit_events",
  "audit_seals",
  "audit_checkpoints",
  "audit_personal_data",
  "audit_unsealed",
  "audit_keys",
];

let service: TestService;
let sealing: Sealing;
let chain: string;
/** The last checkpoint of the chain, kept elsewhere. */
let kept: string;
let attacker: Client;
/** The columns of each table that can be set. */
const columns = new Map<string, { name: string; type: string; nullable: boolean }[]>();

before(async () => {
  service = await startService();
  sealing = await sealingOf(service);
  chain = await addOrganization(service.core);
  const { storage } = service.core;
  const userId = uuidv4();
  for (let at = 0; at < EVENTS; at++) {
    const author = { type: "service", id: uuidv4(), onBehalfOf: userId, personId: userId } as const;
    const personal = { userId, data: { after: { email: `${at}@people.test` } } };
    await runFrom({ address: "203.0.113.9", requestId: `request-${at}` }, () =>
      addEvent(storage, chain, { personal }, author),
    );
    if (at === 3) {
      await sealing.sealer().seal();
    }
  }
  await sealing.sealer().seal();
  attacker = new Client(service.connection);
  await attacker.connect();
  // As nobody else is: neither triggers nor foreign keys are in the way.
  await run("set session_replication_role = replica");
  await run("alter table audit_personal_data drop constraint audit_personal_data_check");
  await run("create schema kept");
  for (const table of TABLES) {
    const { rows } = await attacker.query(
      `select column_name as name, data_type as type, is_nullable = 'YES' as nullable
       from information_schema.columns
       where table_schema = 'public' and table_name = $1 and is_generated = 'NEVER' order by 1`,
      [table],
    );
    columns.set(table, rows);
    await run(`create table kept.${table} as table public.${table}`);
  }
  const [newest] = await run("select jws from audit_checkpoints order by sequence desc limit 1");
  kept = newest?.["jws"] as string;
});
after(async () => {
  await attacker?.end();
  await service.stop();
});

async function run(sql: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
  return (await attacker.query(sql, values)).rows;
}

/** What verification finds once something was done, which is undone then. */
async function foundAfter(
  tamper: () => Promise<unknown>,
  checkpoint = "",
): Promise<{ kind: FaultKind | undefined; sequence: number }> {
  try {
    await tamper();
    const { fault } = await sealing.verify(chain, checkpoint);
    return { kind: fault?.kind, sequence: Number(fault?.sequence ?? 0) };
  } finally {
    for (const table of TABLES) {
      const names = columns
        .get(table)
        ?.map(({ name }) => name)
        .join(", ");
      await run(`delete from ${table}`);
      await run(`insert into ${table} (${names}) select ${names} from kept.${table}`);
    }
  }
}

const eventAt = `(select event_id from audit_seals where chain = $1 and sequence = $2)`;

test("a record that nobody has touched holds, with every event and every checkpoint of it", async () => {
  const found = await sealing.verify(chain, kept);
  assert.deepEqual(
    { ...found },
    {
      fault: undefined,
      verifiedEvents: BigInt(EVENTS),
      // Those in the database, and the one that was kept.
      verifiedCheckpoints: 3n,
      unsealedEvents: 0n,
      oldestUnsealedTime: undefined,
      nextPageToken: "",
    },
  );
});

/** Another value of a column's type. */
const OTHERS: Readonly<Record<string, (column: string) => string>> = {
  text: (column) => `coalesce(${column}, '') || 'x'`,
  uuid: () => "gen_random_uuid()",
  "timestamp with time zone": (column) => `${column} + interval '1 microsecond'`,
  jsonb: (column) => `${column} || '{"x": null}'`,
  bytea: (column) => `coalesce(set_byte(${column}, 0, get_byte(${column}, 0) # 1), '\\x00')`,
  bigint: (column) => `${column} + 1000`,
  smallint: (column) => `${column} + 100`,
};

/** By what a row is told from others. */
const KEYS: Readonly<Record<string, string>> = {
  audit_events: "id::text",
  audit_seals: "event_id::text",
  audit_checkpoints: "id::text",
  // Of each event two, one after the other.
  audit_personal_data: "event_id::text || ' ' || position",
};

// A checkpoint that is given to another chain is gone from its own: then one that was kept elsewhere has to help.
for (const table of ["audit_events", "audit_seals", "audit_checkpoints", "audit_personal_data"]) {
  test(`to alter any column of any row of ${table} is found`, async () => {
    const key = KEYS[table] ?? assert.fail();
    const where =
      table === "audit_personal_data"
        ? "true"
        : table === "audit_events"
          ? "organization_id = $1"
          : "chain = $1";
    const rows = await run(
      `select ${key} as key from ${table} where ${where} order by 1`,
      table === "audit_personal_data" ? [] : [chain],
    );
    assert.ok(rows.length > 1);
    const all = (columns.get(table) ?? []).filter(
      ({ name }) => `${table}.${name}` !== "audit_checkpoints.chain",
    );
    const cases = all.flatMap(({ name, type, nullable }) => {
      const other = OTHERS[type] ?? assert.fail(`${type} is altered in no way yet`);
      return [other(name), ...(nullable ? ["null"] : [])].map((value) => ({ name, value }));
    });
    assert.ok(cases.length >= 3);
    const places = [0, 1, rows.length - 1];
    for (const [{ name, value }, at] of cases.flatMap((one) =>
      places.map((place) => [one, place] as const),
    )) {
      const { kind } = await foundAfter(async () => {
        const [was] = await run(`select ${name} as value from ${table} order by ${key} offset ${at} limit 1`);
        const changed = await attacker.query(
          `update ${table} set ${name} = ${value} where ${key} =
            (select ${key} from ${table} ${table === "audit_personal_data" ? "" : `where ${where.replace("$1", `'${chain}'`)}`}
             order by ${key} offset ${at} limit 1)
           and ${name} is distinct from ${value}`,
        );
        assert.equal(changed.rowCount, 1, `${name} = ${value} of row ${at}, which was ${was?.["value"]}`);
      });
      assert.notEqual(kind, undefined, `${table}.${name} = ${value} of row ${at}`);
    }
  });
}

test("an event that is changed, removed or put elsewhere is found where it is", async () => {
  for (const sequence of [1, 5, EVENTS]) {
    assert.deepEqual(
      await foundAfter(() =>
        run(`update audit_events set action = 'x' where id = ${eventAt}`, [chain, sequence]),
      ),
      { kind: "EVENT_ALTERED", sequence },
    );
    assert.deepEqual(
      await foundAfter(() => run(`delete from audit_events where id = ${eventAt}`, [chain, sequence])),
      { kind: "EVENT_REMOVED", sequence },
    );
    assert.deepEqual(
      await foundAfter(() =>
        run(`update audit_events set organization_id = null where id = ${eventAt}`, [chain, sequence]),
      ),
      { kind: "EVENT_ALTERED", sequence },
    );
  }
});

test("events and seals that change places are found", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.integer({ min: 1, max: EVENTS }), { minLength: 2, maxLength: 2 }),
      async ([one = 0, other = 0]) => {
        const first = Math.min(one, other);
        const swapped = "sequence in ($2, $3)";
        assert.deepEqual(
          await foundAfter(() =>
            run(
              `update audit_events e set action = o.action, target_id = o.target_id, detail = o.detail
               from audit_seals s, audit_seals t, audit_events o
               where s.chain = $1 and s.${swapped} and s.event_id = e.id
                 and t.chain = $1 and t.${swapped} and t.sequence <> s.sequence and t.event_id = o.id`,
              [chain, one, other],
            ),
          ),
          { kind: "EVENT_ALTERED", sequence: first },
        );
        assert.deepEqual(
          await foundAfter(async () => {
            await run("alter table audit_seals drop constraint audit_seals_pkey");
            await run(
              `update audit_seals set sequence = $2 + $3 - sequence where chain = $1 and ${swapped}`,
              [chain, one, other],
            );
            await run("alter table audit_seals add primary key (chain, sequence)");
          }),
          { kind: "SEAL_ALTERED", sequence: first },
        );
      },
    ),
    { numRuns: 5 },
  );
});

test("whatever is cut out of the middle or off the end is found, with its seals too", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: EVENTS }), fc.nat(EVENTS), async (from, length) => {
      const to = Math.min(from + length, EVENTS);
      const cut = async () => {
        await run(
          `delete from audit_events where id in
            (select event_id from audit_seals where chain = $1 and sequence between $2 and $3)`,
          [chain, from, to],
        );
        await run("delete from audit_seals where chain = $1 and sequence between $2 and $3", [
          chain,
          from,
          to,
        ]);
      };
      const expected =
        to === EVENTS
          ? { kind: "CHAIN_TRUNCATED", sequence: from }
          : { kind: "SEAL_REMOVED", sequence: from };
      assert.deepEqual(await foundAfter(cut), expected);
    }),
    { numRuns: 8 },
  );
});

test("an end that was cut off with its checkpoints is found by one that was kept elsewhere", async () => {
  const cut = async () => {
    await run(
      "delete from audit_events where id in (select event_id from audit_seals where chain = $1 and sequence > 6)",
      [chain],
    );
    await run("delete from audit_seals where chain = $1 and sequence > 6", [chain]);
    await run("delete from audit_checkpoints where chain = $1 and sequence > 6", [chain]);
  };
  assert.deepEqual(await foundAfter(cut, kept), { kind: "CHAIN_TRUNCATED", sequence: 7 });
  const everything = async () => {
    for (const table of TABLES) {
      await run(`delete from ${table}`);
    }
  };
  assert.deepEqual(await foundAfter(everything, kept), { kind: "CHAIN_TRUNCATED", sequence: 1 });
});

/** Seals the whole chain anew, as its events are now. */
async function rewrite(): Promise<void> {
  const rows = (await run(
    `select ${STORED_EVENT}, s.sequence from audit_seals s join audit_events e on e.id = s.event_id
     where s.chain = $1 order by s.sequence`,
    [chain],
  )) as unknown as StoredEvent[];
  let previousHash = NO_HASH;
  for (const [at, event] of rows.entries()) {
    const sequence = BigInt(at + 1);
    const digest = eventDigest(event);
    previousHash = sealHash({ previousHash, chain, sequence, eventId: event.id, eventDigest: digest });
    await run("update audit_seals set event_digest = $3, hash = $4 where chain = $1 and sequence = $2", [
      chain,
      String(sequence),
      Buffer.from(digest, "hex"),
      Buffer.from(previousHash, "hex"),
    ]);
  }
}

test("a chain that was computed anew contradicts what was signed", async () => {
  const forge = async () => {
    await run(`update audit_events set action = 'x' where id = ${eventAt}`, [chain, 2]);
    await rewrite();
  };
  assert.deepEqual(await foundAfter(forge), { kind: "CHAIN_REWRITTEN", sequence: 4 });
  const forgeWithout = async () => {
    await forge();
    await run("delete from audit_checkpoints");
  };
  assert.deepEqual(await foundAfter(forgeWithout, kept), { kind: "CHAIN_REWRITTEN", sequence: EVENTS });
  // This is what checkpoints are kept elsewhere for.
  assert.equal((await foundAfter(forgeWithout)).kind, undefined);
});

test("nobody else's key makes a checkpoint: neither a foreign one, nor one that was put beside ours", async () => {
  const other = await startService();
  try {
    const foreign = await sealingOf(other);
    const { id, jws } = await signCheckpoint(foreign.keys, ISSUER, {
      chain,
      sequence: 9n,
      hash: NO_HASH,
      createTime: new Date(),
    });
    const insert = () =>
      run("insert into audit_checkpoints (id, chain, sequence, jws) values ($1, $2, 9, $3)", [
        id,
        chain,
        jws,
      ]);
    assert.deepEqual(await foundAfter(insert), { kind: "CHECKPOINT_ALTERED", sequence: 9 });
    const besides = async () => {
      await insert();
      // As its own deployment has it, and sealed for it.
      const sealed = await foreignKeyRow(other);
      await run("insert into audit_keys (kid, sealed_private_key) values ($1, $2)", sealed);
    };
    assert.deepEqual(await foundAfter(besides), { kind: "CHECKPOINT_ALTERED", sequence: 9 });
    assert.equal(await readCheckpoint(sealing.keys, jws), undefined);
  } finally {
    await other.stop();
  }
});

async function foreignKeyRow(other: TestService): Promise<unknown[]> {
  const client = new Client(other.connection);
  await client.connect();
  try {
    const { rows } = await client.query("select kid, sealed_private_key from audit_keys");
    return [rows[0].kid, rows[0].sealed_private_key];
  } finally {
    await client.end();
  }
}

test("a checkpoint of another record, and any text that is none, is no checkpoint of this one", async () => {
  const elsewhere = await signCheckpoint(sealing.keys, ISSUER, {
    chain: uuidv4(),
    sequence: 3n,
    hash: NO_HASH,
    createTime: new Date(),
  });
  const [head, payload, signature] = kept.split(".");
  const none = Buffer.from(JSON.stringify({ alg: "none", typ: "latchkey-audit-checkpoint+jws" })).toString(
    "base64url",
  );
  for (const text of [
    elsewhere.jws,
    "x",
    `${head}.${payload}.`,
    `${none}.${payload}.${signature}`,
    `${none}.${payload}.`,
  ]) {
    assert.equal((await foundAfter(async () => {}, text)).kind, "CHECKPOINT_ALTERED", text);
  }
});

test("an event that came in past the queue is found, sealed into another chain or not", async () => {
  const id = uuidv7();
  const insert = () =>
    run(
      `insert into audit_events (id, organization_id, actor_type, actor_id, action, target_id, detail)
       values ($1, $2, 'operator', 'x', 'x.x', 'x', '{}')`,
      [id, chain],
    );
  assert.deepEqual(await foundAfter(insert), { kind: "EVENT_INSERTED", sequence: 0 });
  const hidden = async () => {
    await insert();
    await run(
      "insert into audit_seals (chain, sequence, event_id, event_digest, hash) values ($1, 1, $2, '', '')",
      [uuidv4(), id],
    );
  };
  assert.deepEqual(await foundAfter(hidden), { kind: "EVENT_INSERTED", sequence: 0 });
  const before = async () => {
    await insert();
    await run("alter table audit_seals drop constraint audit_seals_sequence_check");
    await run(
      "insert into audit_seals (chain, sequence, event_id, event_digest, hash) values ($1, -1, $2, '', '')",
      [chain, id],
    );
  };
  assert.deepEqual(await foundAfter(before), { kind: "SEAL_ALTERED", sequence: -1 });
});

test("an event that was removed before it was sealed has left a trace", async () => {
  const remove = async () => {
    await run("insert into audit_unsealed (event_id, chain) values ($1, $2)", [uuidv7(), chain]);
  };
  assert.deepEqual(await foundAfter(remove), { kind: "EVENT_REMOVED", sequence: 0 });
  const sealed = async () => {
    await remove();
    await sealing.sealer().seal();
  };
  assert.deepEqual(await foundAfter(sealed), { kind: "EVENT_REMOVED", sequence: EVENTS + 1 });
});

test("the service does not sign a chain that contradicts what it has signed", async () => {
  const found = await foundAfter(async () => {
    await run(`update audit_events set action = 'x' where id = ${eventAt}`, [chain, 2]);
    await rewrite();
    await addEvent(service.core.storage, chain);
    await sealing.sealer().seal();
    assert.deepEqual(
      await run("select max(sequence)::int as last from audit_checkpoints where chain = $1", [chain]),
      [{ last: EVENTS }],
    );
  });
  assert.equal(found.kind, "CHAIN_REWRITTEN");
  await run("delete from audit_due_checkpoints");
});
