import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import { AuthenticationService, startService, type TestService } from "../support/service.ts";
import { apiKey, bearer, type Headers, internalKey, makeWorld, type World } from "./actors.ts";
import { addApiKey, addServiceKey, addUser } from "./cast.ts";

// Who may call Authenticate, and about whom. A caller shows who they are in the call's own headers; whom
// they ask about is in the message.

let service: TestService;
/** The same, where whoever reaches the port may ask. */
let open: TestService;
let world: World;
before(async () => {
  service = await startService({ callers: "authenticated" });
  open = await startService({ beside: service, callers: "any" });
  world = await makeWorld(service);
});
after(async () => {
  await open.stop();
  await service.stop();
});

interface Ask {
  readonly subject?: Headers;
  readonly organizationId?: string;
  readonly at?: TestService;
}

const ask = (
  caller: Headers,
  { subject = apiKey(world.acme.apiKey), organizationId = "", at = service }: Ask = {},
) =>
  at.client(AuthenticationService, caller).authenticate({
    headers: Object.entries(subject).map(([name, value]) => ({ name, value })),
    organizationId,
  });

/** A caller of acme that holds `auth.authenticate` and nothing else. */
async function callerOfAcme(): Promise<Headers> {
  const { acme } = world;
  const user = await addUser(service.core, {
    organizationId: acme.id,
    role: "owner",
    password: world.password,
  });
  const key = { organizationId: acme.id, owner: { userId: user.id }, permissions: ["auth.authenticate"] };
  return apiKey((await addApiKey(service.core, key)).text);
}

async function userOf(organizationId: string, role: string): Promise<Headers> {
  const { email } = await addUser(service.core, { organizationId, role, password: world.password });
  return bearer(await service.logIn(email, world.password.text));
}

test("a caller who is refused is told CALLER_REJECTED and why, never `unauthenticated`", async () => {
  const { acme, missing } = world;
  const revoked = await addServiceKey(service.core, { permissions: ["*"] });
  await query(service.connection, "update service_keys set revoke_time = now() where id = $1", [revoked.id]);
  const narrow = await addServiceKey(service.core, { permissions: ["calls.*"] });
  const callers: readonly (readonly [string, Headers])[] = [
    ["CREDENTIAL_MISSING", {}],
    ["CREDENTIAL_MISSING", { authorization: "Basic dTpw" }],
    ["API_KEY_INVALID", apiKey("ak_wrong")],
    ["TOKEN_INVALID", bearer("eyJ.e30.x")],
    ["SERVICE_KEY_INVALID", internalKey("sk_wrong")],
    ["SERVICE_KEY_REVOKED", internalKey(revoked.text)],
    ["ORGANIZATION_UNKNOWN", internalKey(service.internalKey, missing)],
    ["ORGANIZATION_ID_INVALID", internalKey(service.internalKey, "acme")],
    ["CREDENTIALS_AMBIGUOUS", { ...internalKey(service.internalKey), ...apiKey(acme.apiKey) }],
    ["CREDENTIAL_HEADER_ALIAS", { ...internalKey(service.internalKey), x_api_key: "ak" }],
    ["PERMISSION_DENIED", internalKey(narrow.text)],
    ["PERMISSION_DENIED", apiKey(acme.apiKey)],
    ["PERMISSION_DENIED", await userOf(acme.id, "member")],
  ];
  for (const [reason, caller] of callers) {
    for (const subject of [apiKey(acme.apiKey), apiKey("ak_wrong"), {}]) {
      const error = await refusedWith("CALLER_REJECTED", ask(caller, { subject }));
      assert.deepEqual(error.details.length > 0 && callerReason(error), { caller_reason: reason });
    }
  }
});

function callerReason(error: { details: unknown[] }): unknown {
  const infos = error.details.map((detail) => (detail as { debug?: { metadata?: object } }).debug);
  return infos.find((info) => info?.metadata !== undefined)?.metadata;
}

test("what is wrong with the subject is told as the subject's, to a caller who is let in", async () => {
  const caller = internalKey(service.internalKey);
  await refusedWith("CREDENTIAL_MISSING", ask(caller, { subject: {} }));
  await refusedWith("API_KEY_INVALID", ask(caller, { subject: apiKey("ak_wrong") }));
  await refusedWith("CREDENTIALS_AMBIGUOUS", ask(caller, { subject: { ...apiKey("a"), ...bearer("b") } }));
  await refusedWith("ORGANIZATION_MISMATCH", ask(caller, { organizationId: world.globex.id }));
});

test("the caller's own credential never stands in for the subject's", async () => {
  for (const at of [service, open]) {
    for (const caller of [internalKey(service.internalKey), await callerOfAcme()]) {
      await refusedWith("CREDENTIAL_MISSING", ask(caller, { subject: {}, at }));
      await refusedWith("API_KEY_INVALID", ask(caller, { subject: apiKey("ak_wrong"), at }));
      const { principal } = await ask(caller, { at });
      assert.notEqual(principal?.displayName, "", "the subject answers");
    }
  }
});

test("a caller of one organization asks about that one only, whatever it names and wherever", async () => {
  const { acme, globex, missing } = world;
  const callers = [
    await callerOfAcme(),
    await userOf(acme.id, "admin"),
    await userOf(acme.id, "owner"),
    internalKey(service.internalKey, acme.id),
  ];
  const stranger = await userOf(globex.id, "owner");
  const internal = internalKey(service.internalKey);
  for (const caller of callers) {
    assert.equal((await ask(caller)).organization?.id, acme.id);
    assert.equal((await ask(caller, { organizationId: acme.id.toUpperCase() })).organization?.id, acme.id);
    const elsewhere: Ask[] = [
      { subject: apiKey(globex.apiKey) },
      { subject: apiKey(globex.apiKey), organizationId: globex.id },
      { subject: apiKey(globex.apiKey), organizationId: acme.id },
      { subject: { ...apiKey(globex.apiKey), "x-org-id": globex.id } },
      { subject: stranger },
      { organizationId: globex.id },
      { organizationId: missing },
      { subject: { ...internal, "x-org-id": globex.id } },
      { subject: internal, organizationId: globex.id },
      { subject: internal, organizationId: missing },
    ];
    for (const asked of elsewhere) {
      await refusedWith("ORGANIZATION_MISMATCH", ask(caller, asked));
    }
    // An internal key that names nothing acts for the caller's organization here, not for all.
    const answer = await ask(caller, { subject: internal });
    assert.deepEqual([answer.allOrganizations, answer.organization?.id], [false, acme.id]);
  }
});

test("a service of the platform asks about every organization", async () => {
  const caller = internalKey(
    (await addServiceKey(service.core, { permissions: ["auth.authenticate"] })).text,
  );
  for (const tenant of [world.acme, world.globex]) {
    const { organization } = await ask(caller, { subject: apiKey(tenant.apiKey), organizationId: tenant.id });
    assert.equal(organization?.id, tenant.id);
  }
  assert.equal((await ask(caller, { subject: internalKey(service.internalKey) })).allOrganizations, true);
});

test("where callers may be any, what they come with makes no difference", async () => {
  const callers = [{}, apiKey("ak_wrong"), { ...apiKey("a"), ...bearer("b") }, await callerOfAcme()];
  const answers = [];
  for (const caller of callers) {
    const { organization, permissions } = await ask(caller, {
      subject: apiKey(world.globex.apiKey),
      at: open,
    });
    answers.push({ organization: organization?.id, permissions });
    await refusedWith("API_KEY_INVALID", ask(caller, { subject: apiKey("ak_wrong"), at: open }));
  }
  assert.deepEqual(
    answers,
    callers.map(() => ({ organization: world.globex.id, permissions: ["calls.read"] })),
  );
});

test("the setting concerns Authenticate only: every other method asks who calls, on both", async () => {
  for (const at of [service, open]) {
    assert.equal(await reasonOf(at.client(AuthenticationService).whoAmI({})), "CREDENTIAL_MISSING");
  }
});
