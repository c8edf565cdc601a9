import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it, type TestContext } from "node:test";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { createDatabase, query, urlOf } from "../support/cluster.ts";
import { cleanup, latchkey, type Running, refusal } from "../support/process.ts";
import { reasonOf } from "../support/refusal.ts";
import {
  AuthenticationService,
  OrganizationService,
  startService,
  type TestService,
  TokenService,
  UserService,
} from "../support/service.ts";

const EMAIL = "root@acme.test";
const HOURS = 60 * 60 * 1000;

describe("latchkey bootstrap", { concurrency: 3 }, () => {
  it("makes one administrator of an empty database, whose password is told once and works", async (t) => {
    const deployment = await deploy(t, "empty");
    const began = Date.now();
    const { password, organizationId, output } = await bootstraps(deployment, "Root@Acme.test");
    assert.equal(output.split(password).length, 2, "it is told once");
    assert.match(output, /^organization +acme \([0-9a-f-]{36}\)$/m);
    // 192 bits.
    assert.match(password, /^[\w-]{32}$/);

    const service = await deployment.serve();
    const token = await service.logIn(EMAIL, password);
    const me = await service.client(AuthenticationService, bearer(token)).whoAmI({});
    assert.equal(me.principal?.email, EMAIL);
    assert.equal(me.principal.role, "owner");
    assert.equal(me.organization?.id, organizationId);
    assert.ok(me.permissions.includes("platform.organizations.write"));
    await service.client(OrganizationService, bearer(token)).createOrganization({ name: "other" });

    const users = await query<{ password_expire_time: Date }>(
      deployment.database,
      "select password_expire_time from users",
    );
    const [user] = users;
    assert.equal(users.length, 1);
    const lasts = (user?.password_expire_time.getTime() ?? 0) - began;
    assert.ok(lasts > 24 * HOURS - 1000 && lasts < 24 * HOURS + 60_000, `${lasts}`);
    assert.ok(output.includes(user?.password_expire_time.toISOString() ?? "?"), output);
  });

  it("leaves a record of it, and no secret in any table", async (t) => {
    const deployment = await deploy(t);
    const { password, organizationId } = await bootstraps(deployment);
    const events = await query<Record<string, unknown>>(
      deployment.database,
      `select e.organization_id, actor_type, actor_id, target_id = u.id::text as is_target,
         detail #>> '{after,administrators,0}' = u.id::text as is_in_detail, p.data
       from audit_events e, users u, audit_personal_data p
       where action = 'administrator.bootstrap' and p.event_id = e.id`,
    );
    assert.deepEqual(events, [
      {
        organization_id: organizationId,
        actor_type: "operator",
        actor_id: "bootstrap",
        is_target: true,
        is_in_detail: true,
        data: JSON.stringify({ after: { email: EMAIL } }),
      },
    ]);
    const dump = await everythingIn(deployment.database);
    assert.ok(dump.includes(EMAIL), "the dump holds what there is");
    for (const secret of [password, deployment.key.toString("base64")]) {
      for (const written of [secret, Buffer.from(secret).toString("hex")]) {
        assert.ok(!dump.includes(written));
      }
    }
    assert.ok(!dump.includes(deployment.key.toString("hex")));
  });

  it("gives a password that ends after its time, and is the way back in then", async (t) => {
    const deployment = await deploy(t);
    const first = await bootstraps(deployment);
    const service = await deployment.serve();
    await query(deployment.database, "update users set password_expire_time = now()");
    assert.equal(await reasonOf(service.logIn(EMAIL, first.password)), "LOGIN_FAILED");

    const second = await bootstraps(deployment);
    assert.notEqual(second.password, first.password);
    assert.equal(second.organizationId, first.organizationId);
    await service.logIn(EMAIL, second.password);
    assert.equal(await reasonOf(service.logIn(EMAIL, first.password)), "LOGIN_FAILED");

    await query(deployment.database, "update users set password_expire_time = now()");
    const third = await bootstraps(deployment, "second@acme.test");
    await service.logIn("second@acme.test", third.password);
    assert.equal(await reasonOf(service.logIn(EMAIL, second.password)), "LOGIN_FAILED");
  });

  it("is refused while somebody can log in, with the one-time password or one of their own", async (t) => {
    const deployment = await deploy(t);
    const { password } = await bootstraps(deployment);
    const isRefused = async (email: string) => {
      const before = await everythingIn(deployment.database);
      assert.match(await refusal(bootstrap(deployment, email)), /there is an administrator already/);
      assert.equal(await everythingIn(deployment.database), before);
    };
    await isRefused(EMAIL);

    const service = await deployment.serve();
    const newPassword = "correct horse battery staple";
    await service
      .client(UserService)
      .changePassword({ email: EMAIL, currentPassword: password, newPassword });
    await isRefused("other@acme.test");
    await service.logIn(EMAIL, newPassword);
  });

  it("is the way back in where the only administrator is disabled, or their organization suspended", async (t) => {
    const deployment = await deploy(t);
    await bootstraps(deployment);
    const service = await deployment.serve();

    await query(deployment.database, "update memberships set disable_time = now()");
    const again = await bootstraps(deployment);
    await service.logIn(EMAIL, again.password);

    await query(deployment.database, "update organizations set suspend_time = now()");
    assert.match(await refusal(bootstrap(deployment, EMAIL)), /that organization is suspended; name another/);
    const other = await bootstraps(deployment, EMAIL, "other");
    const grant = { case: "password", value: { email: EMAIL, password: other.password } } as const;
    const { accessToken: token } = await service
      .client(TokenService)
      .issueToken({ grant, organizationId: other.organizationId });
    const me = await service.client(AuthenticationService, bearer(token)).whoAmI({});
    assert.ok(me.permissions.includes("platform.organizations.write"));
  });

  it("is not held up by users who are no administrators", async (t) => {
    const deployment = await deploy(t);
    const first = await bootstraps(deployment);
    const service = await deployment.serve();
    const token = await service.logIn(EMAIL, first.password);
    const password = "correct horse battery staple";
    await service
      .client(UserService, bearer(token))
      .createUser({ email: "owner@acme.test", displayName: "Owner", role: "owner", password });
    await query(
      deployment.database,
      "update users set password_expire_time = now() where platform_role is not null",
    );
    // They become one, and their old password ends.
    const { password: oneTime } = await bootstraps(deployment, "owner@acme.test");
    await service.logIn("owner@acme.test", oneTime);
    assert.equal(await reasonOf(service.logIn("owner@acme.test", password)), "LOGIN_FAILED");
  });

  it("of eight at once on an empty database, exactly one succeeds", async (t) => {
    const deployment = await deploy(t, "empty");
    const all = Array.from({ length: 8 }, (_, index) => bootstrap(deployment, `root${index}@acme.test`));
    const endings = await Promise.all(all.map((one) => one.ended(60_000)));
    const winners = all.filter((_, index) => endings[index]?.code === 0);
    assert.equal(winners.length, 1, all.map(({ stderr }) => stderr).join(""));
    for (const loser of all.filter((one) => !winners.includes(one))) {
      assert.match(await refusal(loser), /there is an administrator already/);
      assert.equal(loser.stdout, "");
    }
    const users = await query<{ email: string }>(deployment.database, "select email from users");
    assert.equal(users.length, 1);
    assert.ok(winners[0]?.stdout.includes(users[0]?.email ?? "?"));
    for (const table of ["organizations", "memberships", "peppers"]) {
      assert.equal((await query(deployment.database, `select from ${table}`)).length, 1, table);
    }
  });

  describe("says in one line what is wrong with", () => {
    it("an email or an organization", async (t) => {
      const deployment = await deploy(t);
      const asked: [string, string, RegExp][] = [
        ["root", "acme", /^--email /],
        ["root@acme.test\nx", "acme", /^--email /],
        [EMAIL, "", /^--organization /],
        [EMAIL, "ac\u001bme", /^--organization /],
      ];
      for (const [email, organization, line] of asked) {
        assert.match(await refusal(bootstrap(deployment, email, organization)), line);
      }
      for (const table of ["users", "organizations"]) {
        assert.deepEqual(await query(deployment.database, `select from ${table}`), [], table);
      }
    });

    it("an option that is missing", async (t) => {
      for (const [option, ...others] of [
        ["--email", "--organization", "acme"],
        ["--organization", "--email", EMAIL],
      ]) {
        const command = latchkey(cleanup(t), ["bootstrap", ...others]);
        assert.deepEqual(await command.ended(), { code: 2, signal: null });
        assert.match(command.stderr, new RegExp(`required option '${option} `));
        assert.doesNotMatch(command.stderr, /^ +at /m);
      }
    });

    it("an encryption key that is not the database's", async (t) => {
      const deployment = await deploy(t);
      await deployment.serve();
      const other = { ...deployment, key: randomBytes(32) };
      assert.match(await refusal(bootstrap(other, EMAIL)), /^LATCHKEY_ENCRYPTION_KEY is not the key/);
    });
  });
});

interface Deployment {
  readonly t: TestContext;
  readonly database: DatabaseConnection;
  readonly key: Buffer;
  /** A service on it, in this process. */
  serve(): Promise<TestService>;
}

async function deploy(t: TestContext, content: "empty" | "migrated" = "migrated"): Promise<Deployment> {
  const database = await createDatabase(content);
  const key = randomBytes(32);
  return {
    t,
    database,
    key,
    async serve() {
      const deployment: Partial<TestService> = { connection: database, encryptionKey: key, ...NOBODY };
      const service = await startService({ beside: deployment as TestService });
      cleanup(t).defer(() => service.stop());
      return service;
    },
  };
}

/** A deployment begins without the credentials that tests have elsewhere. */
const NOBODY = {
  organizationId: "",
  admin: { id: "", email: "", password: "" },
  apiKey: "",
  internalKey: "",
};

function bootstrap({ t, database, key }: Deployment, email: string, organization = "acme"): Running {
  return latchkey(cleanup(t), ["bootstrap", "--organization", organization, "--email", email], {
    env: { DATABASE_URL: urlOf(database), LATCHKEY_ENCRYPTION_KEY: key.toString("base64") },
  });
}

async function bootstraps(deployment: Deployment, email = EMAIL, organization = "acme") {
  const command = bootstrap(deployment, email, organization);
  assert.deepEqual(await command.ended(), { code: 0, signal: null }, command.stderr);
  const output = command.stdout + command.stderr;
  const password = /^password +(\S+)$/m.exec(output)?.[1] ?? assert.fail(output);
  const organizationId = /^organization .*\(([0-9a-f-]{36})\)$/m.exec(output)?.[1] ?? assert.fail(output);
  return { password, organizationId, output };
}

function bearer(token: string): Record<string, string> {
  return { authorization: `Bearer ${token}` };
}

/** Every row of every table, as text. */
async function everythingIn(database: DatabaseConnection): Promise<string> {
  const tables = await query<{ tablename: string }>(
    database,
    // A service that runs says every second that it is there.
    `select tablename from pg_tables
     where schemaname = current_schema() and tablename <> 'rate_limit_replicas' order by 1`,
  );
  const rows: string[] = [];
  for (const { tablename } of tables) {
    const found = await query<{ row: string }>(
      database,
      `select t::text as row from "${tablename}" t order by 1`,
    );
    rows.push(tablename, ...found.map(({ row }) => row));
  }
  return rows.join("\n");
}
