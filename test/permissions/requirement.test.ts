import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createAuthenticate, freshProofs } from "../../src/authenticate/authenticate.ts";
import type { Identity } from "../../src/authenticate/decision.ts";
import { AuthError } from "../../src/errors.ts";
import { expandPatterns } from "../../src/permissions/permission-pattern.ts";
import { catalogues, names, patterns, plainRights, plainVerdict } from "./plain-permissions.ts";

const HEADERS = [{ name: "x-api-key", value: "whatever" }];

/** What a decision about somebody says who holds these. */
async function verdictOf(
  identity: Pick<Identity, "permissions" | "catalogue">,
  requiredPermissions: readonly string[],
  anyPermissions: readonly string[],
): Promise<ReturnType<typeof plainVerdict>> {
  const authenticate = createAuthenticate({
    proofs: freshProofs(() => ({
      held: undefined,
      ends: [],
      tags: [],
      readMillis: 0,
      variesByOrganization: false,
      identity: {
        ...identity,
        principal: { id: "1", type: "api_key", displayName: "", email: "", role: "" },
        credential: { id: "1", type: "api_key", expireTime: undefined },
        organization: undefined,
        owner: { userId: "1" },
        grants: [],
        allowedCidrs: [],
        rateLimit: undefined,
        parentKey: undefined,
        secretId: undefined,
        secretMakers: [],
      },
    })),
    reach: async () => {},
    usageMeter: { count() {} },
    rateLimiter: { async take() {} },
  });
  const question = {
    organizationId: "",
    callerOrganizationId: "",
    audience: "",
    clientAddress: "",
    minRevision: "",
  };
  try {
    await authenticate({ ...question, headers: HEADERS, requiredPermissions, anyPermissions });
    return "allowed";
  } catch (error) {
    assert.ok(error instanceof AuthError, String(error));
    const listOf = (name: string) => error.metadata[name]?.split(" ") ?? [];
    if (error.reason === "PERMISSION_UNKNOWN") {
      return { unknown: listOf("unknown") };
    }
    assert.equal(error.reason, "PERMISSION_DENIED");
    return "missing" in error.metadata
      ? { missing: listOf("missing") }
      : { missingAny: listOf("missing_any") };
  }
}

test("all that is required and one of what would do: allowed exactly where a plain reading says so", async () => {
  const seen = new Set<string>();
  const cases = catalogues.chain((catalogue) => {
    const all = [...catalogue.organization, ...catalogue.platform];
    // Now and then a name that there is not.
    const asked =
      all.length === 0 ? names : fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...all) }, names);
    return fc.record({
      catalogue: fc.constant(catalogue),
      held: fc.array(all.length === 0 ? patterns : fc.oneof(fc.constantFrom(...all), patterns), {
        maxLength: 4,
      }),
      required: fc.array(asked, { maxLength: 3 }),
      any: fc.array(asked, { maxLength: 3 }),
    });
  });
  await fc.assert(
    fc.asyncProperty(cases, async ({ catalogue, held, required, any }) => {
      const permissions = expandPatterns(held, "service-key", catalogue);
      const verdict = await verdictOf({ permissions, catalogue }, required, any);
      const plain = plainVerdict(plainRights(held, "service-key", catalogue), catalogue, required, any);
      assert.deepEqual(verdict, plain);
      seen.add(typeof verdict === "string" ? verdict : (Object.keys(verdict)[0] ?? ""));
    }),
    { numRuns: 3_000 },
  );
  assert.deepEqual([...seen].sort(), ["allowed", "missing", "missingAny", "unknown"]);
});

test("nothing that is asked for is met by a pattern: a requirement is of concrete permissions", async () => {
  const catalogue = { organization: ["calls.read"], platform: [] };
  const everything = { permissions: new Set(["calls.read"]), catalogue };
  for (const text of ["calls.*", "*", "*.read", "Calls.read", "calls.read ", ""]) {
    assert.notEqual(await verdictOf(everything, [text], []), "allowed", text);
    assert.notEqual(await verdictOf(everything, [], [text]), "allowed", text);
    assert.notEqual(await verdictOf(everything, ["calls.read"], ["calls.read", text]), "allowed", text);
  }
});
