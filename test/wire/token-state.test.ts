import assert from "node:assert/strict";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { before, describe, test } from "node:test";
import { calculateJwkThumbprint, type JWK } from "jose";
import { SigningKey } from "../../src/credentials/signing-key/signing-key-entity.ts";
import type { Reason } from "../../src/errors.ts";
import { query } from "../support/cluster.ts";
import { forgeToken, readParts } from "../support/forge-token.ts";
import {
  AuthenticationService,
  ISSUER,
  OrganizationService,
  startService,
  TokenService,
  UserService,
} from "../support/service.ts";
import { join } from "../users/people.ts";
import { assertOutcomes } from "./outcomes.ts";
import { callHttp1, verdictOf } from "./raw-call.ts";
import { AUTHENTICATE, type TokenCase, tokenCases, WHO_AM_I } from "./token-cases.ts";

const { service, token, header, payload, privateKey, forged, ask, answerTo } = await tokenCases();
const admin = { authorization: `Bearer ${token}` };
const users = service.client(UserService, admin);
const organizations = service.client(OrganizationService, admin);
const foreign = generateKeyPairSync("ec", { namedCurve: "P-256" });

describe("the times of a token, with the clock held", () => {
  /** Asks while no time passes: the leeway of 30 seconds is then exact. */
  const held = (what: string, cases: (now: number) => readonly TokenCase[]) =>
    test(what, async (t) => {
      const now = Math.floor(Date.now() / 1000);
      t.mock.timers.enable({ apis: ["Date"], now: now * 1000 });
      await assertOutcomes(cases(now), ask);
    });
  const at = (claims: (offset: number) => object, offset: number, outcome: TokenCase["outcome"]) => ({
    name: `${JSON.stringify(Object.keys(claims(0)))} ${offset}`,
    token: forged({ payload: claims(offset) }),
    outcome,
  });

  held("exp may lie 29 seconds back and not 30, as the clocks may differ", (now) => [
    ...[-29, -1, 0, 1, 3600].map((offset) => at((by) => ({ exp: now + by }), offset, "accepted")),
    ...[-30, -31, -3600, -now, -now - 1].map((offset) =>
      at((by) => ({ exp: now + by }), offset, "TOKEN_EXPIRED"),
    ),
  ]);

  held("nbf may lie 30 seconds ahead and not 31", (now) => [
    ...[-now, -1, 0, 1, 29, 30].map((offset) => at((by) => ({ nbf: now + by }), offset, "accepted")),
    ...[31, 3600, 2 ** 40].map((offset) => at((by) => ({ nbf: now + by }), offset, "TOKEN_NOT_YET_VALID")),
  ]);

  held("iat may lie 30 seconds ahead and not 31", (now) => [
    ...[-now, -1, 0, 1, 29, 30].map((offset) => at((by) => ({ iat: now + by }), offset, "accepted")),
    ...[31, 3600, 2 ** 40].map((offset) => at((by) => ({ iat: now + by }), offset, "TOKEN_NOT_YET_VALID")),
  ]);

  test("do not outlive the session: the database says when that ends, to the moment", async () => {
    const person = await newUser();
    const { payload: claims } = readParts(person.token);
    const later = forgeToken(header, { ...claims, exp: 9_999_999_999 }, privateKey);
    assert.equal(await ask({ token: later }), "accepted");
    await query(service.connection, "update sessions set expire_time = now() where id = $1", [claims["sid"]]);
    assert.equal(await ask({ token: later }), "TOKEN_EXPIRED");
    assert.equal(await ask({ token: person.token }), "TOKEN_EXPIRED");
  });
});

describe("the audience of a token", () => {
  const issued = [ISSUER, "billing", [ISSUER, "billing"], ["billing", "reports"]];
  const asked = ["", ISSUER, "billing", "reports", "Billing", "bill", `${ISSUER}/`];

  test("must be the one asked for, or the default one", async () => {
    const rows = issued.flatMap((aud) =>
      asked.map((audience) => ({
        name: `${JSON.stringify(aud)} asked for "${audience}"`,
        token: forged({ payload: { aud } }),
        audience,
        outcome: [aud].flat().includes(audience === "" ? ISSUER : audience)
          ? "accepted"
          : "TOKEN_AUDIENCE_MISMATCH",
      })),
    );
    await assertOutcomes(rows, async ({ token: text, audience }) =>
      verdictOf(await answerTo(text, { audience })),
    );
  });

  test("binds no key", async () => {
    const headers = [{ name: "X-API-Key", value: service.apiKey }];
    const body = JSON.stringify({ headers, audience: "billing" });
    assert.equal(verdictOf(await callHttp1(service.port, AUTHENTICATE, [], body)), "accepted");
  });
});

/** A person who has just logged in. */
async function newUser({ organizationId = service.organizationId, role = "admin" } = {}) {
  const email = `${randomUUID()}@acme.test`;
  const password = randomUUID();
  const { id } = await join(service, admin, { organizationId, email, password, role });
  return { id, email, password, token: await service.logIn(email, password) };
}

async function newOrganization(): Promise<string> {
  const { organization } = await organizations.createOrganization({ name: randomUUID() });
  return organization?.id ?? assert.fail();
}

describe("a token of somebody", () => {
  const sessionOf = (text: string) => String(readParts(text).payload["sid"]);
  const inDatabase = (sql: string, id: string) => query(service.connection, sql, [id]);
  type Person = Awaited<ReturnType<typeof newUser>>;

  /** What befalls a person after they logged in. Each has an organization of their own. */
  const EVENTS: readonly {
    readonly event: string;
    readonly outcome: Reason | "accepted";
    readonly befall: (person: Person, organizationId: string) => Promise<unknown>;
  }[] = [
    { event: "nothing", outcome: "accepted", befall: async () => {} },
    {
      event: "they log out",
      outcome: "TOKEN_REVOKED",
      befall: (person) =>
        service.client(TokenService).revokeToken({ target: { case: "token", value: person.token } }),
    },
    {
      event: "they change their password",
      outcome: "TOKEN_REVOKED",
      befall: ({ email, password }) =>
        service
          .client(UserService)
          .changePassword({ email, currentPassword: password, newPassword: `${password} too` }),
    },
    {
      event: "their session ends",
      outcome: "TOKEN_EXPIRED",
      befall: (person) =>
        inDatabase("update sessions set expire_time = now() where id = $1", sessionOf(person.token)),
    },
    {
      event: "their session is not there any more",
      outcome: "TOKEN_INVALID",
      befall: (person) => inDatabase("delete from sessions where id = $1", sessionOf(person.token)),
    },
    {
      event: "they are disabled",
      outcome: "USER_DISABLED",
      befall: ({ id }, organizationId) => users.updateUser({ id, organizationId, disabled: true }),
    },
    {
      event: "they are disabled and enabled again",
      outcome: "TOKEN_REVOKED",
      befall: async ({ id }, organizationId) => {
        await users.updateUser({ id, organizationId, disabled: true });
        await users.updateUser({ id, organizationId, disabled: false });
      },
    },
    {
      event: "their membership waits for their consent",
      outcome: "USER_DISABLED",
      befall: ({ id }) => inDatabase("update memberships set accept_time = null where user_id = $1", id),
    },
    {
      event: "their organization is suspended",
      outcome: "ORGANIZATION_SUSPENDED",
      befall: (_, id) => organizations.updateOrganization({ id, suspended: true }),
    },
    {
      event: "their organization is suspended and resumed",
      outcome: "accepted",
      befall: async (_, id) => {
        await organizations.updateOrganization({ id, suspended: true });
        await organizations.updateOrganization({ id, suspended: false });
      },
    },
  ];

  const rows: TokenCase[] = [];
  before(async () => {
    for (const { event, outcome, befall } of EVENTS) {
      const organizationId = await newOrganization();
      const person = await newUser({ organizationId });
      await befall(person, organizationId);
      rows.push({ name: event, token: person.token, outcome });
    }
  });

  test("gets the reason of what befell them, asked about", () => assertOutcomes(rows, ask));

  test("gets the reason of what befell them, as the call's own", () =>
    assertOutcomes(rows, async ({ token: text }) =>
      verdictOf(await callHttp1(service.port, WHO_AM_I, [["authorization", `Bearer ${text}`]])),
    ));

  test("tells nothing of it to whoever cannot sign: the answer is that to any text, to the byte", async () => {
    const toAnyText = (await answerTo("x")).body.toString();
    await assertOutcomes(
      rows.map((row) => ({ ...row, outcome: "TOKEN_INVALID" })),
      async ({ token: text }) => {
        const answer = await answerTo(forgeToken(header, readParts(text).payload, foreign.privateKey));
        assert.equal(answer.body.toString(), toAnyText);
        return verdictOf(answer);
      },
    );
  });

  test("is not good with another's sub or another's session, though signed right", async () => {
    const [one, other] = [await newUser(), await newUser()].map((person) => readParts(person.token).payload);
    assert.ok(one && other);
    const swapped = [
      { name: "sub", claims: { ...one, sub: other["sub"] } },
      { name: "sid", claims: { ...one, sid: other["sid"] } },
      { name: "sub and jti", claims: { ...one, sub: other["sub"], jti: other["jti"] } },
      { name: "all but sid", claims: { ...other, sid: one["sid"] } },
    ];
    await assertOutcomes(
      swapped.map(({ name, claims }) => ({
        name,
        token: forgeToken(header, claims, privateKey),
        outcome: "TOKEN_INVALID",
      })),
      ask,
    );
  });

  test("who is demoted has the rights of the new role at once, whatever the token says", async () => {
    const person = await newUser({ role: "admin" });
    const client = service.client(AuthenticationService);
    const decide = () =>
      client.authenticate({ headers: [{ name: "Authorization", value: `Bearer ${person.token}` }] });
    const asAdmin = await decide();
    await query(
      service.connection,
      `update memberships m set role_id = r.id from roles r
       where m.user_id = $1 and r.organization_id = m.organization_id and r.name = 'viewer'`,
      [person.id],
    );
    const asViewer = await decide();
    assert.equal(readParts(person.token).payload["role"], "admin");
    assert.equal(asViewer.principal?.role, "viewer");
    assert.deepEqual(
      asViewer.permissions,
      asAdmin.permissions.filter((name) => name.endsWith(".read")),
    );
    assert.notDeepEqual(asViewer.permissions, asAdmin.permissions);
  });
});

describe("a signing key that another replica made after this one started", () => {
  /** As loadSigningKeys() makes one. */
  async function addKey() {
    const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const publicJwk = pair.publicKey.export({ format: "jwk" }) as JWK & { kty: string };
    const added = await calculateJwkThumbprint(publicJwk);
    const { storage, seal } = service.core;
    const pkcs8 = pair.privateKey.export({ format: "der", type: "pkcs8" });
    const em = storage.fork();
    em.create(SigningKey, {
      kid: added,
      algorithm: "ES256",
      publicJwk,
      sealedPrivateKey: seal.close(pkcs8, `signing_keys/${added}`),
    });
    await em.flush();
    return { kid: added, privateKey: pair.privateKey };
  }
  const revoke = (withdrawn: string) =>
    query(service.connection, "update signing_keys set revoke_time = now() where kid = $1", [withdrawn]);

  test("is found when a token names it, and signs for nobody once it is withdrawn", async () => {
    const added = await addKey();
    const theirs = { ...header, kid: added.kid };
    const good = forgeToken(theirs, payload, added.privateKey);
    const forgeries = [
      {
        name: "another key's signature",
        token: forgeToken(theirs, payload, privateKey),
        outcome: "TOKEN_INVALID",
      },
      {
        name: "a stranger's signature",
        token: forgeToken(theirs, payload, foreign.privateKey),
        outcome: "TOKEN_INVALID",
      },
      {
        name: "the kid of another",
        token: forgeToken(header, payload, added.privateKey),
        outcome: "TOKEN_INVALID",
      },
    ];
    await assertOutcomes([{ name: "good", token: good, outcome: "accepted" }, ...forgeries], ask);

    const knowing = await startService({ beside: service });
    try {
      const asked = async () => {
        const body = JSON.stringify({ headers: [{ name: "Authorization", value: `Bearer ${good}` }] });
        return verdictOf(await callHttp1(knowing.port, AUTHENTICATE, [], body));
      };
      assert.equal(await asked(), "accepted");
      await revoke(added.kid);
      assert.equal(await asked(), "TOKEN_REVOKED", "where it was known from the start");
    } finally {
      await knowing.stop();
    }
    await assertOutcomes([{ name: "good", token: good, outcome: "TOKEN_REVOKED" }, ...forgeries], ask);
  });
});
