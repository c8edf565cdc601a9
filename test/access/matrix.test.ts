import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { DescMethod } from "@bufbuild/protobuf";
import { accessRuleOf } from "../../src/server/access-rules.ts";
import { query } from "../support/cluster.ts";
import { startService, type TestService } from "../support/service.ts";
import { CALLERS, CODES, ROWS, type Row } from "./access-table.ts";
import { type Headers, makeActors, makeWorld, type World } from "./actors.ts";
import { addSession } from "./cast.ts";
import { callMethod, EVERY_METHOD, nameOf, type Outcome, requestOf } from "./methods.ts";
import { freshId, standingId } from "./targets.ts";

let service: TestService;
let world: World;
let actors: Awaited<ReturnType<typeof makeActors>>;

before(async () => {
  service = await startService({ callers: "authenticated" });
  world = await makeWorld(service);
  actors = await makeActors(world);
});
after(() => service.stop());

/** One call that the table has to answer for: a method, and what it names. */
interface Call {
  readonly method: DescMethod;
  readonly id?: string;
  readonly org?: string;
  /** The target of RevokeToken, or whose sessions are listed. */
  readonly session?: string;
  readonly user?: string;
  readonly subject?: string;
  /** On behalf of a member of acme. */
  readonly grant?: "delegation";
}

/** Every call that the descriptors give rise to. */
const calls: readonly Call[] = EVERY_METHOD.flatMap((method) => {
  const fields = new Set(method.input.fields.map(({ name }) => name));
  if (["Authenticate", "BatchAuthenticate", "Explain"].includes(method.name)) {
    return ["acme", "globex", "internal", "garbage"].map((subject) => ({ method, subject }));
  }
  if (method.name === "IssueToken") {
    const calls: Call[] = [{ method }, ...["acme", "globex", "missing"].map((org) => ({ method, org }))];
    return [...calls, { method, grant: "delegation" }];
  }
  const isOfPlatform = ["ServiceKeyService", "SigningKeyService"].includes(method.parent.name);
  const ids = isOfPlatform ? ["known", "missing"] : ["acme", "globex", "missing"];
  // Whoever removes themselves makes no more calls: see test/users.
  const isTheEnd = ["RemoveMembership", "DeleteUser"].includes(method.name);
  const isAboutPeople = method.parent.name === "UserService" && !isTheEnd;
  const self = isAboutPeople ? ["self"] : [];
  if (fields.has("user_id")) {
    return sessionCalls(method);
  }
  const byId: Call[] = fields.has("id") ? [...ids, ...self].map((id) => ({ method, id })) : [{ method }];
  return byId.flatMap((call): Call[] =>
    fields.has("organization_id")
      ? [call, ...["acme", "globex", "missing"].map((org) => ({ ...call, org }))]
      : [call],
  );
});

/** Of the two methods about sessions: everybody's, somebody's, or one. */
function sessionCalls(method: DescMethod): Call[] {
  const whose = ["acme", "globex", "missing", "self"];
  const sessions = method.input.fields.some(({ name }) => name === "session_id") ? whose : [];
  // Whoever ends all of their own sessions makes no more calls: see test/credentials/sessions.test.ts.
  const users = whose.filter((user) => user !== "self" || sessions.length === 0);
  const of: Call[] = [
    { method },
    ...sessions.map((session) => ({ method, session })),
    ...users.map((user) => ({ method, user })),
  ];
  return of.flatMap((call): Call[] => [
    call,
    ...["acme", "globex", "missing"].map((org) => ({ ...call, org })),
  ]);
}

function labelOf({ method, id, org, session, user, subject, grant }: Call): string {
  const named = Object.entries({ id, session, user, org, subject, grant }).filter(
    ([, value]) => value !== undefined,
  );
  return [nameOf(method), ...named.map(([name, value]) => `${name}=${value}`)].join(" ");
}

async function headersOf(caller: string, method: DescMethod): Promise<Headers> {
  const rule = accessRuleOf(method);
  const { name = "", platformName = "" } = rule.kind === "permission" ? rule.permission : {};
  const narrowed: Record<string, string> = { "sk:name": name, "sk:platform": platformName, "sk:none": "" };
  const headers = actors.fixed[caller];
  return headers ?? (await actors.narrowed(narrowed[caller] || "calls.read"));
}

async function messageOf(
  { method, id, org, session, user, subject, grant }: Call,
  caller: string,
  isCarriedOut: boolean,
): Promise<Record<string, unknown>> {
  const { acme, globex, missing } = world;
  const tenantOf = (name: string) => (name === "globex" ? globex : acme);
  const idOf = async (name: string): Promise<string> => {
    if (name === "missing") {
      return missing;
    }
    if (name === "self") {
      return actors.ids[caller] ?? missing;
    }
    const tenant = tenantOf(name);
    return isCarriedOut ? await freshId(method, tenant, world) : standingId(method, tenant, world);
  };
  const userOf = (name: string): string =>
    name === "missing"
      ? missing
      : name === "self"
        ? (actors.ids[caller] ?? missing)
        : tenantOf(name).member.id;
  const sessionOf = async (name: string): Promise<string> => {
    const userId = userOf(name);
    if (userId === missing) {
      return missing;
    }
    const own = (caller === "other" ? globex : acme).id;
    const organizationId =
      name === "self" ? (caller === "platform" ? actors.platformsOwn : own) : tenantOf(name).id;
    return await addSession(service.core, { organizationId, userId });
  };
  const subjectOf = (name: string) => {
    const texts: Record<string, [string, string]> = {
      acme: ["X-API-Key", acme.apiKey],
      globex: ["X-API-Key", globex.apiKey],
      internal: ["X-Internal-Key", service.internalKey],
    };
    const [header, value] = texts[name] ?? ["X-API-Key", name];
    return [{ name: header, value }];
  };
  return {
    ...requestOf(method, world),
    ...(grant !== undefined && { grant: { case: grant, value: { userId: acme.member.id } } }),
    ...(id !== undefined && { id: await idOf(id) }),
    ...(session !== undefined && { target: { case: "sessionId", value: await sessionOf(session) } }),
    ...(user !== undefined &&
      (method.name === "RevokeToken"
        ? { target: { case: "userId", value: userOf(user) } }
        : { userId: userOf(user) })),
    ...(org !== undefined && { organizationId: org === "missing" ? missing : tenantOf(org).id }),
    ...(subject !== undefined && questionAbout(method, subjectOf(subject))),
  };
}

function questionAbout(method: DescMethod, headers: readonly object[]): Record<string, unknown> {
  switch (method.name) {
    case "BatchAuthenticate":
      return { requests: [{ headers }] };
    case "Explain":
      return { request: { headers } };
    default:
      return { headers };
  }
}

function codeOf({ reason, callerReason }: Outcome): string {
  if (reason === undefined) {
    return "ok";
  }
  const told = callerReason === undefined ? reason : `${reason} ${callerReason}`;
  return Object.entries(CODES).find(([, meaning]) => meaning === told)?.[0] ?? told;
}

/** Makes the calls of which the table says this, and finds where the service says otherwise. */
async function compare(isMeant: (expected: string) => boolean, look: (cell: Cell) => void): Promise<void> {
  const differences: string[] = [];
  for (const call of calls) {
    const row = ROWS.find((row) => row.call === labelOf(call));
    for (const [caller, expected] of Object.entries(row?.answers ?? {})) {
      if (isMeant(expected)) {
        const headers = await headersOf(caller, call.method);
        const message = await messageOf(call, caller, expected === "ok");
        const outcome = await callMethod(service.url, call.method, headers, message);
        if (codeOf(outcome) !== expected) {
          differences.push(`${labelOf(call)} by ${caller}: ${codeOf(outcome)}, not ${expected}`);
        }
        look({ call, caller, outcome });
      }
    }
  }
  assert.deepEqual(differences, []);
}

interface Cell {
  readonly call: Call;
  readonly caller: string;
  readonly outcome: Outcome;
}

/** Whoever belongs to one of the two organizations is never told of the other, be it allowed or refused. */
function seesNothingOfOthers({ call, caller, outcome }: Cell): void {
  const foreign = ["key", "key+", "agent", "viewer", "member", "admin", "owner", "sk@acme"].includes(caller)
    ? world.globex
    : caller === "other"
      ? world.acme
      : undefined;
  // What is about nobody's data, and the calls whose own message names whom the answer is about.
  const rule = accessRuleOf(call.method);
  const isOther = call.grant !== undefined || call.session !== undefined || call.user !== undefined;
  const carriesProof = rule.kind === "permission" && rule.possessionFields.length > 0 && !isOther;
  const isPublic = rule.kind === "possession" || carriesProof;
  const isOfPlatform = caller === "sk@acme" && outcome.reason === undefined && isPlatformMethod(call.method);
  if (foreign !== undefined && !isPublic && !isOfPlatform) {
    for (const mark of foreign.marks) {
      assert.ok(!outcome.answer.includes(mark), `${labelOf(call)} tells ${caller} of the other: ${mark}`);
    }
  }
}

function isPlatformMethod(method: DescMethod): boolean {
  const rule = accessRuleOf(method);
  return rule.kind === "permission" && rule.permission.scope === "platform";
}

test("every method of every service declares who may call it", () => {
  for (const method of EVERY_METHOD) {
    assert.ok(accessRuleOf(method));
  }
});

test("the table has a row for every call that the contract gives rise to, and no other", () => {
  assert.deepEqual(
    ROWS.map((row: Row) => row.call),
    calls.map(labelOf),
  );
});

test("the table has a column for every kind of caller, and each of its answers has a meaning", () => {
  const narrowed = ["sk:name", "sk:platform", "sk:none"];
  assert.deepEqual(CALLERS, [...Object.keys(actors.fixed), ...narrowed]);
  const answers = new Set(ROWS.flatMap((row) => Object.values(row.answers)));
  assert.deepEqual(
    [...answers].filter((answer) => answer !== "ok" && !(answer in CODES)),
    [],
  );
});

test("whatever the table refuses is refused, for that reason, and changes nothing", async () => {
  const written = () =>
    query(
      service.connection,
      `select (select count(*) from audit_events) as events, (select count(*) from changes) as changes,
         (select count(*) from users) as users, (select count(*) from api_keys) as keys,
         (select count(*) from roles) as roles, (select count(*) from permissions) as permissions`,
    );
  const before = await written();
  await compare((expected) => expected !== "ok", seesNothingOfOthers);
  assert.deepEqual(await written(), before);
});

test("whatever the table allows is allowed, and tells nobody of another organization", async () => {
  await compare((expected) => expected === "ok", seesNothingOfOthers);
});
