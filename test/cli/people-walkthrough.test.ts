import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { createDatabase, query, urlOf } from "../support/cluster.ts";
import { readParts } from "../support/forge-token.ts";
import {
  clientOf,
  fetchPage,
  freePort,
  latchkey,
  type Running,
  temporaryFolder,
} from "../support/process.ts";
import { reasonOf } from "../support/refusal.ts";
import { AuthenticationService, TokenService } from "../support/service.ts";
import { until } from "../support/until.ts";
import { field, linesOf, type Operator, operatorWith } from "./operator.ts";

/**
 * What an operator types from the first day on, against `latchkey serve` in a process of its own: each test goes on
 * where the one before it has stopped, as a deployment does.
 */

const PUBLIC_URL = "https://auth.example.test";
const ROOT_EMAIL = "root@example.test";
const ROOT_PASSWORD = "a lamp beside the river door";
const ANN_EMAIL = "ann@example.test";
const ANN_PASSWORD = "seven quiet boats at noon";

const stack = new AsyncDisposableStack();
const [oldKey, newKey] = [randomBytes(32), randomBytes(32)].map((key) => key.toString("base64"));
let folder: string;
let database: DatabaseConnection;
let url: string;
let organizationId: string;
/** The administrator's token, renewed by whoever has it refused. */
let token = "";

before(async () => {
  folder = temporaryFolder(stack);
  database = await createDatabase("empty");
});
after(() => stack.disposeAsync());

const settings = (more: Readonly<Record<string, string>> = {}) => ({
  DATABASE_URL: urlOf(database),
  LATCHKEY_ENCRYPTION_KEY: oldKey ?? "",
  ...more,
});

/** A replica. Without a notice, since no balancer turns away. */
async function serve(
  more: Readonly<Record<string, string>> = {},
): Promise<{ url: string; process: Running }> {
  const port = await freePort();
  const env = settings({
    LATCHKEY_PUBLIC_URL: PUBLIC_URL,
    LATCHKEY_HOST: "127.0.0.1",
    LATCHKEY_PORT: String(port),
    LATCHKEY_NOTICE_SECONDS: "0",
    ...more,
  });
  const replica = { url: `http://127.0.0.1:${port}`, process: latchkey(stack, ["serve"], { env }) };
  await until("it is ready", async () => {
    assert.ok(replica.process.isAlive, replica.process.stderr);
    return (await fetchPage(`${replica.url}/readyz`)).status === 200;
  });
  return replica;
}

const nobody = (t: Parameters<typeof operatorWith>[0]) => operatorWith(t, { LATCHKEY_URL: url });
const as = (t: Parameters<typeof operatorWith>[0], credential: string) =>
  operatorWith(t, { LATCHKEY_URL: url, LATCHKEY_CREDENTIAL: credential });

async function logIn(someone: Operator, email: string, password: string): Promise<string> {
  const args = ["login", "--email", email, "--password-file", "-"];
  return (await someone.does(args, { input: `${password}\n` })).trim();
}

/** Why a token is refused, by the next call; undefined where it is not. */
const refusalOf = (accessToken: string, at = url) =>
  reasonOf(clientOf(AuthenticationService, at, { authorization: `Bearer ${accessToken}` }).whoAmI({}));

test("the one-time password of bootstrap is good for its change, and that makes an administrator", async (t) => {
  const bootstrap = latchkey(stack, ["bootstrap", "--organization", "Example", "--email", ROOT_EMAIL], {
    env: settings(),
  });
  assert.deepEqual(await bootstrap.ended(), { code: 0, signal: null }, bootstrap.stderr);
  const oneTime = field(bootstrap.stdout, "password") ?? assert.fail(bootstrap.stdout);
  organizationId = /\(([0-9a-f-]{36})\)$/.exec(field(bootstrap.stdout, "organization") ?? "")?.[1] ?? "";
  ({ url } = await serve({ LATCHKEY_ENCRYPTION_KEY_PREVIOUS: newKey ?? "" }));

  const early = await nobody(t).fails(["login", "--email", ROOT_EMAIL, "--password-file", "-"], {
    input: oneTime,
  });
  assert.match(early, /^PASSWORD_CHANGE_REQUIRED: /);
  const input = `${oneTime}\n${ROOT_PASSWORD}\n`;
  assert.equal(await nobody(t).does(["user", "change-password", ROOT_EMAIL], { input }), "changed\n");
  token = await logIn(nobody(t), ROOT_EMAIL, ROOT_PASSWORD);
  const [root, ...others] = await as(t, token).lists(["user", "list"]);
  assert.deepEqual([root.email, root.role, others], [ROOT_EMAIL, "owner", []]);
});

test("a person is invited, accepts, logs in, is reset, and has a session ended", async (t) => {
  const root = as(t, token);
  const invited = await root.does(["user", "invite", ANN_EMAIL, "--role", "admin", "--name", "Ann Lee"]);
  const id = field(invited, "id") ?? assert.fail(invited);
  const invitation = field(invited, "invitation") ?? assert.fail(invited);
  const accepted = await nobody(t).does(["user", "accept", ANN_EMAIL], {
    input: `${invitation}\n${ANN_PASSWORD}\n`,
  });
  assert.equal(field(accepted, "organization"), organizationId);
  // The invitation was good once.
  const again = { input: `${invitation}\n${ANN_PASSWORD}\n` };
  assert.match(await nobody(t).fails(["user", "accept", ANN_EMAIL], again), /^LOGIN_FAILED: /);

  const login = ["login", "--email", ANN_EMAIL, "--password-file", "-"];
  const first = await nobody(t).asks(login, { input: ANN_PASSWORD });
  const grant = { case: "refreshToken", value: { refreshToken: first.refreshToken } } as const;
  const second = await clientOf(TokenService, url).issueToken({ grant });
  assert.notEqual(second.refreshToken, first.refreshToken);
  const own = await as(t, second.accessToken).lists(["session", "list", "--user", id]);
  assert.deepEqual(
    own.map((session) => [session.id, session.kind, session.clientAddress]),
    [[readParts(first.accessToken).payload["sid"], "SESSION_KIND_LOGIN", "127.0.0.1"]],
  );
  assert.ok(own[0].refreshTime);

  const reset = await root.does(["user", "reset-password", id]);
  const oneTime = field(reset, "password") ?? assert.fail(reset);
  assert.equal(await refusalOf(first.accessToken), "TOKEN_REVOKED");
  assert.equal(await refusalOf(second.accessToken), "TOKEN_REVOKED");
  assert.match(await nobody(t).fails(login, { input: ANN_PASSWORD }), /^LOGIN_FAILED: /);
  assert.match(await nobody(t).fails(login, { input: oneTime }), /^PASSWORD_CHANGE_REQUIRED: /);
  await nobody(t).does(["user", "change-password", ANN_EMAIL], { input: `${oneTime}\n${ANN_PASSWORD}!\n` });

  const saved = join(folder, "ann.token");
  await nobody(t).does([...login, "--save", saved], { input: `${ANN_PASSWORD}!` });
  const kept = await logIn(nobody(t), ANN_EMAIL, `${ANN_PASSWORD}!`);
  const sessions = await nobody(t).lists(["session", "list", "--user", id, "--credential-file", saved]);
  assert.equal(sessions.length, 2);
  const [ended] = sessions.filter((session) => session.id !== readParts(kept).payload["sid"]);
  assert.equal(await root.does(["session", "revoke", ended.id]), "ended\n");
  const refused = await nobody(t).fails(["session", "list", "--user", id, "--credential-file", saved]);
  assert.match(refused, /^TOKEN_REVOKED: /);
  assert.equal(await refusalOf(kept), undefined);
});

test("an organization is suspended, resumed and deleted, and a person is deleted", async (t) => {
  const root = as(t, token);
  const other = field(await root.does(["org", "create", "Other Ltd"]), "id") ?? "";
  const bea = { email: "bea@example.test", password: "nine paper kites in rain" };
  const invited = await root.asks(["user", "invite", bea.email, "--role", "owner", "--org", other]);
  await nobody(t).does(["user", "accept", bea.email], { input: `${invited.invitation}\n${bea.password}` });
  const hers = await logIn(nobody(t), bea.email, bea.password);
  const key = await as(t, hers).asks(["key", "create", "billing", "--permission", "calls.read"]);
  const asked = join(folder, "headers.txt");
  writeFileSync(asked, `X-API-Key: ${key.secret}\n`);
  /** What a service is told that was sent the key. */
  const use = async (code: number): Promise<string> => {
    const command = root.start(["authenticate", "-H", `@${asked}`], {
      env: { LATCHKEY_CREDENTIAL: serviceKey },
    });
    assert.deepEqual(await command.ended(), { code, signal: null }, command.stderr);
    return linesOf(command.stdout)[0] ?? "";
  };
  const serviceKey =
    field(
      await root.does(["service-key", "create", "edge", "--permission", "auth.authenticate"]),
      "secret",
    ) ?? assert.fail();
  assert.match(await use(0), /^principal +api_key /);

  assert.equal(field(await root.does(["org", "suspend", other]), "state"), "suspended");
  assert.match(await use(2), /^refused +ORGANIZATION_SUSPENDED: /);
  assert.equal(await refusalOf(hers), "ORGANIZATION_SUSPENDED");
  assert.equal(field(await root.does(["org", "resume", other]), "state"), "active");
  assert.match(await use(0), /^principal +api_key /);
  assert.equal(await refusalOf(hers), undefined);

  const wrong = await root.fails(["org", "delete", other, "--name", "Another Ltd"]);
  assert.match(wrong, /^ORGANIZATION_NAME_MISMATCH: /);
  assert.match(await use(0), /^principal +api_key /);
  const deleted = await root.does(["org", "delete", other, "--name", "Other Ltd"]);
  assert.deepEqual(
    ["state", "revoked keys", "removed members", "ended sessions"].map((name) => field(deleted, name)),
    ["deleted", "1", "1", "1"],
  );
  assert.match(await use(2), /^refused +API_KEY_REVOKED: /);
  assert.notEqual(await refusalOf(hers), undefined);
  assert.match(await root.fails(["org", "get", other]), /^NOT_FOUND: /);

  // The account is left, and goes too.
  assert.equal(await root.does(["user", "delete", invited.user.id]), "deleted\n");
  const [left] = await query<{ email: string }>(database, "select email from users where id = $1", [
    invited.user.id,
  ]);
  assert.ok(left !== undefined && !left.email.includes("bea"), left?.email);
});

test("tokens live through a rotation of the signing keys, and end with the key that was revoked", async (t) => {
  const root = as(t, token);
  const next = field(await root.does(["signing-key", "rotate"]), "id") ?? assert.fail();
  const states = async () =>
    Object.fromEntries((await root.lists(["signing-key", "list"])).map((row) => [row.id, row.state]));
  const signer = String(readParts(token).header["kid"]);
  assert.deepEqual(await states(), {
    [signer]: "SIGNING_KEY_STATE_ACTIVE",
    [next]: "SIGNING_KEY_STATE_NEXT",
  });
  const { body } = await fetchPage(`${url}/.well-known/jwks.json`);
  assert.deepEqual(
    (JSON.parse(body) as { keys: { kid: string }[] }).keys.map(({ kid }) => kid).sort(),
    [signer, next].sort(),
  );

  const revoked = await root.does(["signing-key", "revoke", signer, "--reason", "a backup was stolen"]);
  assert.equal(field(revoked, "state"), "revoked");
  assert.match(await root.fails(["org", "list"]), /^TOKEN_REVOKED: /);
  token = await logIn(nobody(t), ROOT_EMAIL, ROOT_PASSWORD);
  assert.equal(readParts(token).header["kid"], next);
  assert.equal(await refusalOf(token), undefined);
});

test("rekey moves the secrets beside a running service, which then does without the old key", async (t) => {
  const created = await as(t, token).does(["key", "create", "kept", "--permission", "calls.read"]);
  const secret = field(created, "secret") ?? assert.fail(created);
  const moved = { LATCHKEY_ENCRYPTION_KEY: newKey ?? "", LATCHKEY_ENCRYPTION_KEY_PREVIOUS: oldKey ?? "" };
  const alone = { LATCHKEY_ENCRYPTION_KEY: newKey ?? "" };
  const early = latchkey(stack, ["serve"], {
    env: settings({ ...alone, LATCHKEY_PUBLIC_URL: PUBLIC_URL, LATCHKEY_PORT: String(await freePort()) }),
  });
  assert.deepEqual(await early.ended(), { code: 1, signal: null }, early.stdout);
  assert.match(early.stderr, /^latchkey: LATCHKEY_ENCRYPTION_KEY is not the key/);

  // Beside the replica that still encrypts under the old key.
  const second = await serve(moved);
  const rekey = async () => {
    const command = latchkey(stack, ["rekey"], { env: settings(moved) });
    assert.deepEqual(await command.ended(), { code: 0, signal: null }, command.stderr);
    return command.stdout;
  };
  const told = await rekey();
  assert.match(told, /^signing_keys +[1-9]\d* moved$/m);
  assert.match(told, /^peppers +[1-9]\d* moved$/m);
  assert.match(told, /^Everything is encrypted under LATCHKEY_ENCRYPTION_KEY\. /m);
  assert.match(await rekey(), /^signing_keys +0 moved$/m);
  for (const at of [url, second.url]) {
    assert.equal(await refusalOf(token, at), undefined);
    assert.equal(
      await reasonOf(clientOf(AuthenticationService, at, { "x-api-key": secret }).whoAmI({})),
      undefined,
    );
  }

  ({ url } = await serve(alone));
  assert.equal(await refusalOf(token), undefined);
  assert.equal(
    await reasonOf(clientOf(AuthenticationService, url, { "x-api-key": secret }).whoAmI({})),
    undefined,
  );
  assert.equal(await refusalOf(await logIn(nobody(t), ROOT_EMAIL, ROOT_PASSWORD)), undefined);
});

test("the record tells who did what, and neither a changed row nor a deleted one goes unseen", async (t) => {
  const root = as(t, token);
  const record = async (...args: string[]): Promise<string[]> =>
    (await root.lists(["audit", "list", ...args])).map((event) => event.action);
  const own = await record();
  for (const action of [
    "administrator.bootstrap",
    "membership.accept",
    "user.reset_password",
    "session.revoke",
  ]) {
    assert.ok(own.includes(action), `${action} in ${own}`);
  }
  const platform = await record("--record", "platform");
  for (const action of ["user.change_password", "signing_key.revoke", "encryption_key.rekey"]) {
    assert.ok(platform.includes(action), `${action} in ${platform}`);
  }
  const verify = ["audit", "verify"];
  await until("all is sealed", async () => {
    const told = await root.does(verify);
    return field(told, "not sealed yet") === "0" && Number(field(told, "verified events")) >= own.length;
  });
  await root.does([...verify, "--record", "platform"]);

  // As whoever administers the database.
  const [row] = await query<{ id: string; detail: unknown; sequence: string }>(
    database,
    `select e.id, e.detail, s.sequence from audit_events e join audit_seals s on s.event_id = e.id
     where e.organization_id = $1 order by s.sequence desc offset 2 limit 1`,
    [organizationId],
  );
  const { id, detail, sequence } = row ?? assert.fail("it is sealed");
  await query(database, `update audit_events set detail = '{"after": {}, "forged": true}' where id = $1`, [
    id,
  ]);
  assert.equal(
    await root.fails(verify),
    `the record does not hold: EVENT_ALTERED at ${sequence} of event ${id}`,
  );
  await query(database, "update audit_events set detail = $2 where id = $1", [id, JSON.stringify(detail)]);
  await root.does(verify);
  await query(database, "delete from audit_personal_data where event_id = $1", [id]);
  await query(database, "delete from audit_events where id = $1", [id]);
  assert.match(
    await root.fails(verify),
    new RegExp(`^the record does not hold: EVENT_REMOVED at ${sequence} of event ${id}$`),
  );
});
