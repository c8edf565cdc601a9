import assert from "node:assert/strict";
import { test } from "node:test";
import { authorize, type PermissionRule, type Subject } from "../../src/authenticate/authorize.ts";
import type { Decision, Principal } from "../../src/authenticate/decision.ts";
import { AuthError } from "../../src/errors.ts";

const OWN = "0198b7f2-aaaa-7aaa-8aaa-0123456789ab";
const OTHER = "0198b7f2-bbbb-7bbb-8bbb-0123456789ab";
const SELF = "11111111-2222-4333-8444-0123456789ab";
const NAME = "auth.things.write";
const PLATFORM_NAME = "platform.things.write";

/** One line of the truth table: a rule, an actor and what the call names. */
interface Case {
  readonly scope: PermissionRule["scope"];
  readonly hasPlatformName: boolean;
  readonly self: boolean;
  readonly type: Principal["type"];
  /** Whether a service acts on behalf of the user. */
  readonly onBehalf: boolean;
  /** Whether the actor acts for one organization. Only an internal key may not. */
  readonly bound: boolean;
  readonly holdsName: boolean;
  readonly holdsPlatformName: boolean;
  readonly names: "no field" | "nothing" | "own" | "other";
  readonly id: "" | "self" | "another's";
}

/** A refusal, or how far the call reaches: one organization, or everything. */
type Outcome = { refused: string } | { reaches: string };

const EVERYTHING = { reaches: "everything" };

/** The rule as the contract tells it, sentence by sentence. */
function outcomeByContract(c: Case): Outcome {
  const holdsPlatform = c.hasPlatformName && c.holdsPlatformName;
  const holds = c.holdsName || holdsPlatform;
  const namesOther = c.names === "other";

  // A service on somebody's behalf is not that person.
  const isPerson = c.type === "user" && !c.onBehalf;

  // "PLATFORM: every organization, and what belongs to none." Who names nobody there speaks of themselves.
  if (c.scope === "platform") {
    const isOwnMatter = c.self && isPerson && c.id !== "another's";
    return holds || isOwnMatter ? EVERYTHING : { refused: "PERMISSION_DENIED" };
  }
  // An internal key that named no organization may act for each of them, or for the one that it names here.
  if (!c.bound) {
    if (!holds) {
      return { refused: "PERMISSION_DENIED" };
    }
    return namesOther ? { reaches: OTHER } : c.names === "own" ? { reaches: OWN } : EVERYTHING;
  }
  // One organization in `X-Org-Id` and another in the message can be read in two ways.
  if (namesOther && c.type === "service") {
    return { refused: "ORGANIZATION_AMBIGUOUS" };
  }
  // "A PLATFORM permission that allows the method in every organization."
  if (namesOther) {
    return holdsPlatform ? { reaches: OTHER } : { refused: "ORGANIZATION_MISMATCH" };
  }
  // "A person may call the method about themselves without the permission."
  const aboutSelf = c.self && isPerson && c.id === "self";
  if (!holds && !aboutSelf) {
    return { refused: "PERMISSION_DENIED" };
  }
  // What is found by its own id is found anywhere by a person of the platform.
  return holdsPlatform && isPerson && c.names === "no field" ? EVERYTHING : { reaches: OWN };
}

function outcomeOf(c: Case): Outcome {
  const rule: PermissionRule = {
    name: NAME,
    scope: c.scope,
    platformName: c.hasPlatformName ? PLATFORM_NAME : "",
    self: c.self,
  };
  const permissions = new Set(["auth.others.read"]);
  if (c.holdsName) {
    permissions.add(NAME);
  }
  if (c.holdsPlatformName) {
    permissions.add(PLATFORM_NAME);
  }
  const organization = { id: OWN, name: "own", suspended: false, createTime: new Date(0) };
  const decision: Decision = {
    principal: { id: SELF, type: c.type, displayName: "", email: "", role: "" },
    credential: { id: SELF, type: "access_token", expireTime: undefined },
    organization: c.bound ? organization : undefined,
    owner: { userId: SELF },
    grants: [...permissions],
    permissions,
    catalogue: { organization: [NAME, "auth.others.read"], platform: [PLATFORM_NAME] },
    allowedCidrs: [],
    rateLimit: undefined,
    parentKey: c.onBehalf ? { type: "service", id: OTHER, displayName: "" } : undefined,
    secretId: undefined,
    secretMakers: [],
    stripHeaders: [],
    tags: [],
    endTime: undefined,
  };
  const named = { "no field": "", nothing: "", own: OWN, other: OTHER };
  const subject: Subject = {
    namesOrganization: c.names !== "no field",
    organizationId: named[c.names],
    id: { "": "", self: SELF, "another's": OTHER }[c.id],
  };
  try {
    const actor = authorize(rule, decision, subject);
    assert.equal(actor.decision, decision);
    return actor.organizationId === undefined ? EVERYTHING : { reaches: actor.organizationId };
  } catch (error) {
    assert.ok(error instanceof AuthError, String(error));
    return { refused: error.reason };
  }
}

function* everyCase(): Generator<Case> {
  const flags = [false, true];
  for (const scope of ["organization", "platform"] as const)
    for (const hasPlatformName of flags)
      for (const self of flags)
        for (const [type, bound, onBehalf] of [
          ["user", true, false],
          ["user", true, true],
          ["api_key", true, false],
          ["service", true, false],
          ["service", false, false],
        ] as const)
          for (const holdsName of flags)
            for (const holdsPlatformName of flags)
              for (const names of ["no field", "nothing", "own", "other"] as const)
                for (const id of ["", "self", "another's"] as const)
                  yield {
                    scope,
                    hasPlatformName,
                    self,
                    type,
                    bound,
                    onBehalf,
                    holdsName,
                    holdsPlatformName,
                    names,
                    id,
                  };
}

const cases = [...everyCase()];

test("the rule decides every case as the contract tells it", () => {
  assert.equal(cases.length, 2 * 2 * 2 * 5 * 2 * 2 * 4 * 3);
  for (const c of cases) {
    assert.deepEqual(outcomeOf(c), outcomeByContract(c), JSON.stringify(c));
  }
});

test("without the permission nobody gets in, but a person about themselves", () => {
  for (const c of cases.filter((c) => !c.holdsName && !(c.hasPlatformName && c.holdsPlatformName))) {
    const outcome = outcomeOf(c);
    const isSelf = c.id === "self" || (c.scope === "platform" && c.id === "");
    const isOwnMatter = c.self && c.type === "user" && !c.onBehalf && isSelf;
    assert.ok("refused" in outcome || isOwnMatter, JSON.stringify(c));
  }
});

test("nobody reaches beyond their organization without a permission of the platform, but an unbound service", () => {
  for (const c of cases.filter((c) => c.scope === "organization" && c.bound)) {
    const outcome = outcomeOf(c);
    const beyond = "reaches" in outcome && outcome.reaches !== OWN;
    assert.ok(!beyond || (c.hasPlatformName && c.holdsPlatformName), JSON.stringify(c));
  }
});

test("more permissions never turn an allowance into a refusal", () => {
  for (const c of cases.filter((c) => "reaches" in outcomeOf(c))) {
    assert.ok("reaches" in outcomeOf({ ...c, holdsName: true, holdsPlatformName: true }), JSON.stringify(c));
  }
});

test("a refusal for a permission names the one that is missing", () => {
  const decision = {
    permissions: new Set<string>(),
    organization: undefined,
    principal: { type: "service" },
  };
  assert.throws(
    () =>
      authorize(
        { name: NAME, scope: "organization", platformName: PLATFORM_NAME, self: false },
        decision as unknown as Decision,
        { organizationId: "", namesOrganization: false, id: "" },
      ),
    (error) => error instanceof AuthError && error.metadata["missing"] === NAME,
  );
});
