import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { apiKey, bearer, type Headers, internalKey, makeWorld, type World } from "../access/actors.ts";
import { addApiKey, addUser } from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import { AuthenticationService, startService, type TestService } from "../support/service.ts";

// What is refused is compared with Authenticate in test/access/dead-credentials.test.ts.

let service: TestService;
let world: World;
before(async () => {
  service = await startService({ callers: "any" });
  world = await makeWorld(service);
});
after(() => service.stop());

const asked = (headers: Headers, more: object = {}) => ({
  headers: Object.entries(headers).map(([name, value]) => ({ name, value })),
  ...more,
});
const operator = () => service.client(AuthenticationService, internalKey(service.internalKey));

test("what is allowed is explained step by step, with the answer that Authenticate gives", async () => {
  const good: readonly (readonly [string, object])[] = [
    ["an API key", asked(apiKey(world.acme.apiKey), { requiredPermissions: ["calls.read"] })],
    [
      "an API key as bearer",
      asked(bearer(world.acme.apiKey), { anyPermissions: ["calls.write", "calls.read"] }),
    ],
    ["an internal key", asked(internalKey(service.internalKey, world.acme.id))],
    ["a token", asked(bearer(await service.logIn()))],
  ];
  for (const [who, request] of good) {
    const explained = await operator().explain({ request });
    const answer = await operator().authenticate(request);
    // Revisions grow with everything that the database does meanwhile.
    assert.notEqual(explained.response?.revision, "", who);
    assert.deepEqual(explained.response, { ...answer, revision: explained.response?.revision }, who);
    assert.deepEqual([explained.allowed, explained.reason, explained.message], [true, "", ""], who);
    assert.ok(explained.steps.length >= 4, who);
    assert.ok(
      explained.steps.every(({ name, passed, detail }) => passed && name !== "" && detail !== ""),
      who,
    );
  }
});

test("the step that failed is the last, and says what it looked at", async () => {
  const { acme, globex } = world;
  const bound = await addApiKey(service.core, {
    organizationId: acme.id,
    owner: { userId: acme.ownerId },
    permissions: ["calls.read"],
    allowedCidrs: ["203.0.113.0/24"],
  });
  const failing: readonly (readonly [string, object])[] = [
    ["client_address", asked(apiKey(acme.apiKey), { clientAddress: "nowhere" })],
    ["headers", asked({ ...apiKey(acme.apiKey), ...bearer("eyJ.e30.x") })],
    [
      "organization_named",
      asked({ ...apiKey(acme.apiKey), "x-org-id": acme.id }, { organizationId: globex.id }),
    ],
    ["credential", asked({})],
    ["form", asked(apiKey("ak_wrong"))],
    ["organization", asked(apiKey(acme.apiKey), { organizationId: globex.id })],
    ["allowed_cidrs", asked(apiKey(bound.text), { clientAddress: "198.51.100.1" })],
    ["permissions", asked(apiKey(acme.apiKey), { requiredPermissions: ["calls.write"] })],
    ["permissions", asked(apiKey(acme.apiKey), { anyPermissions: ["calls.write", "calls.hold"] })],
  ];
  for (const [name, request] of failing) {
    const { steps, allowed } = await operator().explain({ request });
    assert.deepEqual([allowed, steps.at(-1)?.name, steps.at(-1)?.passed], [false, name, false]);
  }
});

test("whoever may ask about any credential may not have it explained: it takes a permission of its own", async () => {
  const request = asked(apiKey(world.acme.apiKey));
  await refusedWith("CREDENTIAL_MISSING", service.client(AuthenticationService).explain({ request }));
  const { acme, password } = world;
  const member = await addUser(service.core, { organizationId: acme.id, role: "member", password });
  const token = bearer(await service.logIn(member.email, password.text));
  const client = service.client(AuthenticationService, token);
  assert.equal(await reasonOf(client.authenticate(request)), undefined);
  await refusedWith("PERMISSION_DENIED", client.explain({ request }));
});

test("somebody of one organization is told nothing of another's credential but that it is another's", async () => {
  const { acme, globex, password } = world;
  const owner = await addUser(service.core, { organizationId: acme.id, role: "owner", password });
  const client = service.client(
    AuthenticationService,
    bearer(await service.logIn(owner.email, password.text)),
  );
  for (const more of [{}, { organizationId: acme.id }, { organizationId: globex.id }]) {
    const explained = await client.explain({ request: asked(apiKey(globex.apiKey), more) });
    assert.equal(explained.reason, "ORGANIZATION_MISMATCH");
    const text = JSON.stringify(explained.steps);
    assert.ok(!globex.marks.some((mark) => text.includes(mark)));
  }
});

test("to explain is not to use: it neither counts as a use nor uses up a rate limit", async () => {
  const replica = await startService({ beside: service });
  const owner = { userId: world.acme.ownerId };
  const key = await addApiKey(service.core, {
    organizationId: world.acme.id,
    owner,
    permissions: ["calls.read"],
    rateLimit: { requests: 1, windowSeconds: 86_400 },
  });
  const client = replica.client(AuthenticationService, internalKey(service.internalKey));
  const request = asked(apiKey(key.text));
  try {
    for (let time = 1; time <= 3; time++) {
      assert.equal((await client.explain({ request })).allowed, true);
    }
    await client.authenticate(request);
    await refusedWith("RATE_LIMITED", client.authenticate(request));
  } finally {
    // What was counted is written then.
    await replica.stop();
  }
  const sql = "select allowed::int, refused::int from key_usage where key_id = $1";
  assert.deepEqual(await query(service.connection, sql, [key.id]), [{ allowed: 1, refused: 1 }]);
});
