import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Client } from "pg";
import { startService, type TestService } from "../support/service.ts";
import { makePassword, type Password } from "./cast.ts";
import { type Call, callsBy, callsByProof } from "./issuing.ts";
import { type Kind, kindsOf, type Life, makeLife } from "./life.ts";
import { callMethod } from "./methods.ts";
import { STATES, type State } from "./states.ts";

// Whatever happens to a credential, or to whom or what it stands on, is in force on another replica with the next
// call, for each kind of credential and each method that makes another; and what it does not touch goes on.

let one: TestService;
let other: TestService;
let password: Password;
let database: Client;
before(async () => {
  one = await startService();
  other = await startService({ beside: one });
  password = await makePassword(one.core);
  database = new Client(one.connection);
  await database.connect();
});
after(async () => {
  await database.end();
  await other.stop();
  await one.stop();
});

/** Every row of what credentials and people are, and what is recorded of making them. */
async function everything(): Promise<string> {
  const tables = [
    "users",
    "memberships",
    "sessions",
    "refresh_tokens",
    "api_keys",
    "api_key_slots",
    "imported_key_hashes",
    "service_keys",
    "service_key_slots",
    "signing_keys",
    "audit_events",
    "changes",
  ];
  const digests = tables.map(
    (table) =>
      `(select md5(coalesce(string_agg(md5(t::text), '' order by t::text), '')) from ${table} t) as ${table}`,
  );
  const { rows } = await database.query(`select ${digests.join(", ")}`);
  return JSON.stringify(rows[0]);
}

interface Expectation {
  readonly call: Call;
  /** Undefined: it is answered. */
  readonly reason: string | undefined;
  /** Whether it is for what has happened, or for what the caller never might. */
  readonly isRefused: boolean;
}

/** What follows from what the call stands on, and from what whoever calls may do. */
function expectationOf(call: Call, state: State, kind?: Kind): Expectation {
  const gone = call.stands.find(([fact]) => state.ends.includes(fact))?.[1];
  const lacks = call.needs !== undefined && kind !== undefined && !mayCall(call.needs, kind, state);
  const denied = lacks ? "PERMISSION_DENIED" : undefined;
  const reason = gone ?? denied ?? call.otherwise;
  return { call, reason, isRefused: (gone ?? denied) !== undefined };
}

function mayCall(needs: NonNullable<Call["needs"]>, kind: Kind, state: State): boolean {
  return [needs.permission, needs.platformName]
    .filter((name) => name !== "")
    .some((name) => holds(name, kind, state));
}

function holds(name: string, { grants, role }: Kind, state: State): boolean {
  const isOfPlatform = name.startsWith("platform.");
  const isNarrowed = role === "user" && state.narrows === true && !isOfPlatform;
  return (grants.includes("*") || grants.includes(name)) && (!isNarrowed || name.endsWith(".read"));
}

async function outcomeOf({ call, isRefused }: Expectation): Promise<string | undefined> {
  const { method, headers, request } = call;
  return (await callMethod(other.url, method, headers, request(isRefused))).reason;
}

const told = (expectations: readonly Expectation[], reasons: readonly (string | undefined)[]) =>
  Object.fromEntries(expectations.map(({ call }, index) => [call.name, reasons[index] ?? "answered"]));

/** Makes the calls, those that are refused first: they leave no trace. */
async function requireAll(expectations: readonly Expectation[]): Promise<void> {
  const refused = expectations.filter(({ isRefused }) => isRefused);
  const rest = expectations.filter(({ isRefused }) => !isRefused);
  const expected = (of: readonly Expectation[]) =>
    told(
      of,
      of.map(({ reason }) => reason),
    );
  if (refused.length > 0) {
    const before = await everything();
    assert.deepEqual(told(refused, await Promise.all(refused.map(outcomeOf))), expected(refused));
    assert.equal(await everything(), before, "a refused call has made something");
  }
  const answers = [];
  for (const expectation of rest) {
    answers.push(await outcomeOf(expectation));
  }
  assert.deepEqual(told(rest, answers), expected(rest));
}

async function warmUp(kinds: readonly Kind[], life: Life): Promise<void> {
  const before: State = { name: "", happens: async () => {}, ends: [] };
  const asks = kinds.flatMap((kind) =>
    callsBy(kind, life).filter(({ method }) => method.name === "Authenticate"),
  );
  const expectations = asks.map((call) => expectationOf(call, before));
  assert.deepEqual(
    told(expectations, await Promise.all(expectations.map(outcomeOf))),
    told(
      expectations,
      expectations.map(() => undefined),
    ),
  );
}

/**
 * Of calls that are not refused: Authenticate, and one more, another in each state. That all are answered is shown
 * where nothing has happened.
 */
function sample(expectations: readonly Expectation[], turn: number): readonly Expectation[] {
  const isAsked = ({ call }: Expectation) => call.method.name === "Authenticate";
  const rest = expectations.filter((each) => !each.isRefused && !isAsked(each));
  const chosen = rest[turn % rest.length];
  return expectations.filter((each) => each.isRefused || isAsked(each) || each === chosen);
}

for (const [turn, state] of STATES.entries()) {
  test(`where ${state.name}, each credential that stands on it is refused everywhere, and no other`, async () => {
    const life = await makeLife(one, password);
    const kinds = kindsOf(life);
    // The other replica has seen them all while they were good.
    await warmUp(kinds, life);
    await state.happens(one, life, password);
    const byCredential: Expectation[][] = kinds.map((kind) =>
      callsBy(kind, life).map((call) => expectationOf(call, state, kind)),
    );
    byCredential.push(callsByProof(life, password).map((call) => expectationOf(call, state)));
    for (const [index, expectations] of byCredential.entries()) {
      await requireAll(state.ends.length === 0 ? expectations : sample(expectations, turn + index));
    }
  });
}
