import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { mintKey } from "../../src/credentials/secret-key.ts";
import type { Reason } from "../../src/errors.ts";
import { addOrganization, makePassword, type Password } from "../access/cast.ts";
import { statementsOf } from "../storage/statements.ts";
import { query } from "../support/cluster.ts";
import { readParts } from "../support/forge-token.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import {
  AuthenticationService,
  OrganizationService,
  startService,
  type TestService,
  TokenService,
  UserService,
} from "../support/service.ts";
import { addLoggedIn, type LoggedIn, logIn, refresh, type Tokens, whoAmI } from "./session-support.ts";

const DAY_MILLIS = 24 * 60 * 60 * 1000;

let service: TestService;
let replica: TestService;
let password: Password;
before(async () => {
  service = await startService();
  replica = await startService({ beside: service });
  password = await makePassword(service.core);
});
after(async () => {
  await replica.stop();
  await service.stop();
});

const add = (organizationId?: string): Promise<LoggedIn> =>
  addLoggedIn(service, password, organizationId === undefined ? {} : { organizationId });
const run = (sql: string, ...values: unknown[]) =>
  query<Record<string, unknown>>(service.connection, sql, values);

/** Moves everything that a session's tokens have been through into the past. */
const letPass = (sessionId: string, interval: string) =>
  run(
    "update refresh_tokens set use_time = use_time - $2::interval where session_id = $1",
    sessionId,
    interval,
  );

async function isEnded(sessionId: string): Promise<boolean> {
  const [row] = await run("select revoke_time is not null as ended from sessions where id = $1", sessionId);
  return row?.["ended"] === true;
}

test("a refresh token gets the next access token and the next refresh token of the same session", async () => {
  const first = await add();
  assert.match(first.refreshToken, /^rt_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}$/);
  let tokens: Tokens = first;
  for (let turn = 0; turn < 3; turn++) {
    const next = await refresh(turn % 2 === 0 ? replica : service, tokens.refreshToken);
    assert.equal(next.sessionId, first.sessionId);
    assert.notEqual(next.refreshToken, tokens.refreshToken);
    assert.equal((await whoAmI(service, next)).principal?.id, first.id);
    tokens = next;
  }
  // Those before stay good until their own end.
  await whoAmI(service, first);
  const rows = await run(
    "select action, actor_id from audit_events where target_id = $1 order by id",
    first.sessionId,
  );
  assert.deepEqual(
    rows,
    ["session.create", ...Array.from({ length: 3 }, () => "session.refresh")].map((action) => ({
      action,
      actor_id: first.id,
    })),
  );
});

test("an access token lasts 24 hours to the second, and no longer than its session", async () => {
  const { accessToken, expireTime, refreshToken, refreshTokenExpireTime, sessionId } = await add();
  const { iat, exp } = readParts(accessToken).payload as { iat: number; exp: number };
  assert.equal(exp - iat, 24 * 60 * 60);
  assert.equal(expireTime.getTime(), exp * 1000);
  assert.equal(refreshTokenExpireTime.getTime(), iat * 1000 + 7 * DAY_MILLIS);
  const [session] = await run("select create_time, expire_time from sessions where id = $1", sessionId);
  assert.deepEqual(session, {
    create_time: new Date(iat * 1000),
    expire_time: new Date(iat * 1000 + 30 * DAY_MILLIS),
  });
  const told = async (tokens: Pick<Tokens, "headers">) => {
    const { credential } = await whoAmI(service, tokens);
    assert.ok(credential?.expireTime);
    return timestampDate(credential.expireTime);
  };
  assert.deepEqual(await told({ headers: { authorization: `Bearer ${accessToken}` } }), expireTime);
  // On the session's last day.
  const [row] = await run(
    "update sessions set expire_time = date_trunc('second', now() + interval '1 hour') where id = $1 returning expire_time",
    sessionId,
  );
  const end = row?.["expire_time"] as Date;
  const last = await refresh(service, refreshToken);
  assert.deepEqual(last.expireTime, end);
  assert.equal(readParts(last.accessToken).payload["exp"], end.getTime() / 1000);
  assert.deepEqual(last.refreshTokenExpireTime, end);
  assert.deepEqual(await told(last), end);
  // What was issued before says a later end than the session has now.
  assert.deepEqual(await told({ headers: { authorization: `Bearer ${accessToken}` } }), end);
});

test("of 50 refreshes at once, over two replicas, exactly one refresh token comes", async () => {
  const { refreshToken, sessionId } = await add();
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, at) => refresh(at % 2 === 0 ? service : replica, refreshToken)),
  );
  assert.equal(new Set(answers.map((answer) => answer.refreshToken)).size, 1);
  const rows = await run(
    "select use_time is not null as used from refresh_tokens where session_id = $1",
    sessionId,
  );
  assert.deepEqual(rows.map((row) => row["used"]).toSorted(), [false, true]);
  await Promise.all(answers.slice(0, 5).map((answer) => whoAmI(replica, answer)));
  await refresh(replica, answers[0]?.refreshToken ?? "");
  assert.equal(await isEnded(sessionId), false);
});

describe("a refresh token that is used a second time", () => {
  const reuses: readonly {
    readonly when: string;
    readonly before: (used: Tokens, next: Tokens) => Promise<unknown>;
  }[] = [
    { when: "after the next one was used", before: (_, next) => refresh(service, next.refreshToken) },
    { when: "more than 10 seconds later", before: (used) => letPass(used.sessionId, "10 seconds") },
  ];
  for (const { when, before: prepare } of reuses) {
    test(`${when} ends its session with all its tokens, which is so before it is told`, async () => {
      const first = await add();
      const other = await logIn(service, { email: first.email, password: password.text });
      const next = await refresh(service, first.refreshToken);
      await prepare(first, next);
      await refusedWith("REFRESH_TOKEN_REUSED", refresh(replica, first.refreshToken));
      assert.equal(await isEnded(first.sessionId), true);
      for (const tokens of [first, next]) {
        assert.equal(await reasonOf(whoAmI(service, tokens)), "TOKEN_REVOKED");
        assert.equal(await reasonOf(refresh(service, tokens.refreshToken)), "TOKEN_REVOKED");
      }
      // Whoever else the person is goes on.
      await whoAmI(service, other);
      const rows = await run(
        `select actor_id, organization_id, detail from audit_events
         where target_id = $1 and action = 'session.revoke'`,
        first.sessionId,
      );
      assert.deepEqual(rows, [
        {
          actor_id: first.id,
          organization_id: service.organizationId,
          detail: { userId: first.id, reason: "REFRESH_TOKEN_REUSED" },
        },
      ]);
      const tags = await run("select tags from changes where $1 = any(tags)", `session:${first.sessionId}`);
      assert.equal(tags.length, 1);
    });
  }

  test("is told of by every token that the session ever had", async () => {
    for (const at of [0, 2, 3]) {
      const first = await add();
      const used = [first.refreshToken];
      for (let turn = 0; turn < 5; turn++) {
        used.push((await refresh(service, used.at(-1) ?? "")).refreshToken);
      }
      await refusedWith("REFRESH_TOKEN_REUSED", refresh(replica, used[at] ?? ""));
      assert.equal(await isEnded(first.sessionId), true);
    }
  });

  test("ends the session once, however many come at once", async () => {
    const first = await add();
    const next = await refresh(service, first.refreshToken);
    await refresh(service, next.refreshToken);
    const reasons = await Promise.all(
      Array.from({ length: 10 }, (_, at) =>
        reasonOf(refresh(at % 2 ? service : replica, first.refreshToken)),
      ),
    );
    assert.equal(reasons.filter((reason) => reason === "REFRESH_TOKEN_REUSED").length, 1, String(reasons));
    assert.equal(reasons.filter((reason) => reason === "TOKEN_REVOKED").length, 9);
  });

  test("at the same moment as the next one leaves nobody with a session that a thief shares", async () => {
    for (let round = 0; round < 6; round++) {
      const first = await add();
      const next = await refresh(service, first.refreshToken);
      const [thief, owner] = await Promise.all([
        refresh(replica, first.refreshToken).catch(() => undefined),
        refresh(service, next.refreshToken).catch(() => undefined),
      ]);
      const ended = await isEnded(first.sessionId);
      // Either the old one came first and was told the same next one, or it came second and ended it all.
      assert.equal(ended, thief === undefined);
      if (thief !== undefined) {
        assert.equal(thief.refreshToken, next.refreshToken);
      }
      if (ended && owner !== undefined) {
        assert.equal(await reasonOf(refresh(service, owner.refreshToken)), "TOKEN_REVOKED");
        assert.equal(await reasonOf(whoAmI(replica, owner)), "TOKEN_REVOKED");
      }
    }
  });
});

test("within 10 seconds and until the next one is used, whoever asks again is told the same next one", async () => {
  const first = await add();
  const next = await refresh(service, first.refreshToken);
  await letPass(first.sessionId, "9 seconds");
  const again = await refresh(replica, first.refreshToken);
  assert.equal(again.refreshToken, next.refreshToken);
  assert.deepEqual(again.refreshTokenExpireTime, next.refreshTokenExpireTime);
  await whoAmI(service, again);
  // It is one refresh, asked for twice.
  const events = await run(
    "select from audit_events where target_id = $1 and action = 'session.refresh'",
    first.sessionId,
  );
  assert.equal(events.length, 1);
  await refresh(service, again.refreshToken);
});

test("what was handed out is nowhere in the database, and what it is told again is gone with its use", async () => {
  const first = await add();
  const next = await refresh(service, first.refreshToken);
  const secrets = [first, next].flatMap(({ refreshToken }) => [
    refreshToken,
    refreshToken.split("_")[2]?.slice(0, 43) ?? "",
  ]);
  const tables = await run("select tablename from pg_tables where schemaname = 'public'");
  for (const { tablename } of tables) {
    const rows = await run(`select to_jsonb(t)::text as text, t::text as more from ${tablename} t`);
    for (const { text, more } of rows) {
      for (const secret of secrets) {
        const hex = Buffer.from(secret).toString("hex");
        assert.ok(![secret, hex].some((form) => `${text} ${more}`.includes(form)), String(tablename));
      }
    }
  }
  assert.deepEqual(
    [...service.logged, ...replica.logged].filter((line) => secrets.some((secret) => line.includes(secret))),
    [],
  );
  const kept = async () =>
    (
      await run(
        "select from refresh_tokens where session_id = $1 and sealed_successor is not null",
        first.sessionId,
      )
    ).length;
  assert.equal(await kept(), 1);
  const last = await refresh(service, next.refreshToken);
  assert.equal(await kept(), 1, "that of the one used last alone");
  // Anybody's login throws away what is too late to be told again.
  await letPass(first.sessionId, "11 seconds");
  await add();
  assert.equal(await kept(), 0);
  await refusedWith("REFRESH_TOKEN_REUSED", refresh(service, next.refreshToken));
  await refusedWith("TOKEN_REVOKED", refresh(service, last.refreshToken));
});

describe("a session that has come to its end", () => {
  const ends = {
    "30 days after its login": "expire_time = now()",
    "7 days after it was last refreshed": "idle_expire_time = now()",
    "after 5000 refreshes": "refresh_count = 5000",
  };
  for (const [when, change] of Object.entries(ends)) {
    test(`${when} is refreshed no more`, async () => {
      const { refreshToken, sessionId } = await add();
      await run(`update sessions set ${change} where id = $1`, sessionId);
      await refusedWith("REFRESH_TOKEN_EXPIRED", refresh(service, refreshToken));
    });
  }

  test("with a one-time password that was never changed is refreshed no more, and with a changed one it is", async () => {
    const soon = { passwordExpireTime: new Date(Date.now() + 3_600_000) };
    const [lazy, prompt] = [
      await addLoggedIn(service, password, soon),
      await addLoggedIn(service, password, soon),
    ];
    const { refreshToken } = await refresh(service, lazy.refreshToken);
    const { email } = prompt;
    const newPassword = `${password.text} anew`;
    await service
      .client(UserService)
      .changePassword({ email, currentPassword: password.text, newPassword, keepSessions: true });
    await run(
      "update users set password_expire_time = now() where id = any($1) and password_expire_time is not null",
      [lazy.id, prompt.id],
    );
    await refusedWith("REFRESH_TOKEN_EXPIRED", refresh(service, refreshToken));
    await refresh(service, prompt.refreshToken);
  });

  test("is not made longer by refreshing, but its idle time is", async () => {
    const { refreshToken, sessionId } = await add();
    const times = async () =>
      (await run("select expire_time, idle_expire_time from sessions where id = $1", sessionId))[0];
    await run("update sessions set idle_expire_time = now() + interval '1 hour' where id = $1", sessionId);
    const earlier = await times();
    const { refreshTokenExpireTime } = await refresh(service, refreshToken);
    assert.deepEqual(await times(), {
      expire_time: earlier?.["expire_time"],
      idle_expire_time: refreshTokenExpireTime,
    });
  });

  test("is thrown away a day later, with its tokens, by the logins of others", async () => {
    const old = await add();
    await refresh(service, old.refreshToken);
    await letPass(old.sessionId, "1 hour");
    await run("update sessions set expire_time = now() - interval '25 hours' where id = $1", old.sessionId);
    const recent = await add();
    await run(
      "update sessions set expire_time = now() - interval '23 hours' where id = $1",
      recent.sessionId,
    );
    await add();
    await add();
    const left = await run(
      "select s.id from sessions s join refresh_tokens t on t.session_id = s.id where s.id = any($1)",
      [old.sessionId, recent.sessionId],
    );
    assert.deepEqual(left, [{ id: recent.sessionId }]);
  });
});

describe("whoever may not act may not refresh", () => {
  const admin = () => ({ "x-internal-key": service.internalKey });
  const users = (organizationId: string) =>
    service.client(UserService, { ...admin(), "x-org-id": organizationId });
  const organizations = () => service.client(OrganizationService, admin());
  const change = (email: string, newPassword: string, keepSessions: boolean) =>
    service
      .client(UserService)
      .changePassword({ email, currentPassword: password.text, newPassword, keepSessions });

  const cases: readonly {
    readonly event: string;
    readonly befall: (person: LoggedIn, organizationId: string) => Promise<unknown>;
    readonly outcome: Reason | undefined;
    /** What makes it good again, and what a refresh then meets. */
    readonly undo?: (person: LoggedIn, organizationId: string) => Promise<unknown>;
    readonly afterwards?: Reason | undefined;
  }[] = [
    {
      event: "their organization is suspended",
      befall: (_, id) => organizations().updateOrganization({ id, suspended: true }),
      outcome: "ORGANIZATION_SUSPENDED",
      undo: (_, id) => organizations().updateOrganization({ id, suspended: false }),
      afterwards: undefined,
    },
    {
      event: "they are disabled",
      befall: ({ id }, org) => users(org).updateUser({ id, disabled: true }),
      outcome: "USER_DISABLED",
      undo: ({ id }, org) => users(org).updateUser({ id, disabled: false }),
      // Whoever is let in again begins anew.
      afterwards: "TOKEN_REVOKED",
    },
    {
      event: "their membership waits for their consent",
      befall: ({ id }) => run("update memberships set accept_time = null where user_id = $1", id),
      outcome: "USER_DISABLED",
      undo: ({ id }) => run("update memberships set accept_time = now() where user_id = $1", id),
      afterwards: undefined,
    },
    {
      event: "they are removed",
      befall: ({ id }, org) => users(org).removeMembership({ id }),
      outcome: "USER_DISABLED",
    },
    {
      event: "they change their password",
      befall: ({ email }) => change(email, `${password.text} two`, false),
      outcome: "TOKEN_REVOKED",
    },
    {
      event: "they change their password and keep their sessions",
      befall: ({ email }) => change(email, `${password.text} two`, true),
      outcome: undefined,
    },
    {
      event: "they log out with the access token",
      befall: ({ accessToken: value }) =>
        service.client(TokenService).revokeToken({ target: { case: "token", value } }),
      outcome: "TOKEN_REVOKED",
    },
    {
      event: "they log out with the refresh token",
      befall: ({ refreshToken: value }) =>
        replica.client(TokenService).revokeToken({ target: { case: "token", value } }),
      outcome: "TOKEN_REVOKED",
    },
  ];
  for (const { event, befall, outcome, undo, afterwards } of cases) {
    test(`${event}: ${outcome ?? "goes on"}`, async () => {
      const organizationId = await addOrganization(service.core);
      const person = await add(organizationId);
      await befall(person, organizationId);
      assert.equal(await reasonOf(refresh(replica, person.refreshToken)), outcome);
      if (undo !== undefined) {
        await undo(person, organizationId);
        assert.equal(await reasonOf(refresh(replica, person.refreshToken)), afterwards, "once that is over");
      }
    });
  }

  test("a refusal that has an end does not hide a thief either", async () => {
    const organizationId = await addOrganization(service.core);
    const person = await add(organizationId);
    await refresh(service, (await refresh(service, person.refreshToken)).refreshToken);
    await organizations().updateOrganization({ id: organizationId, suspended: true });
    await refusedWith("REFRESH_TOKEN_REUSED", refresh(service, person.refreshToken));
    assert.equal(await isEnded(person.sessionId), true);
  });
});

test("another organization than the session's is refused, and uses nothing up", async () => {
  const { refreshToken } = await add();
  const other = { organizationId: await addOrganization(service.core) };
  await refusedWith("ORGANIZATION_MISMATCH", refresh(service, refreshToken, other));
  const { organizationId } = service;
  await refresh(service, refreshToken, { organizationId: organizationId.toUpperCase() });
});

test("a refresh that was under way when the session was ended leaves no token that works", async () => {
  for (let round = 0; round < 6; round++) {
    const person = await add();
    const [next] = await Promise.all([
      refresh(replica, person.refreshToken).catch(() => undefined),
      service.client(TokenService).revokeToken({ target: { case: "token", value: person.accessToken } }),
    ]);
    for (const tokens of [person, ...(next ? [next] : [])]) {
      assert.equal(await reasonOf(whoAmI(replica, tokens)), "TOKEN_REVOKED");
      assert.equal(await reasonOf(refresh(service, tokens.refreshToken)), "TOKEN_REVOKED");
    }
  }
});

describe("what is no refresh token", () => {
  const spoilt = (text: string): string[] => [
    ...Array.from({ length: text.length - 1 }, (_, at) => text.slice(0, at + 1)),
    ...[...text].map((letter, at) => {
      const other = letter === letter.toUpperCase() ? letter.toLowerCase() : letter.toUpperCase();
      return `${text.slice(0, at)}${other === letter ? "x" : other}${text.slice(at + 1)}`;
    }),
    ...[`${text}0`, ` ${text}`, `${text} `, `x${text}`, `rt_${text}`, `${text}\n`, text.replaceAll("_", "-")],
  ];

  test("costs the database nothing, and harms nobody", async () => {
    const { refreshToken, accessToken } = await add();
    const wrong = [...new Set(spoilt(refreshToken))].filter((text) => text !== refreshToken);
    const texts = [...wrong, service.apiKey, service.internalKey, "rt_", "rt__", accessToken.slice(0, 120)];
    const statements = await statementsOf(async () => {
      for (const text of texts) {
        assert.equal(await reasonOf(refresh(service, text)), "REFRESH_TOKEN_INVALID", text);
      }
    });
    assert.deepEqual(statements, []);
    await refresh(service, refreshToken);
  });

  test("but looks like one takes one statement, and holds nobody up", async () => {
    const { refreshToken, sessionId } = await add();
    const [, lookupId = ""] = refreshToken.split("_");
    const made = mintKey("rt").text;
    const statements = await statementsOf(async () => {
      await refusedWith("REFRESH_TOKEN_INVALID", refresh(service, made));
    });
    assert.equal(statements.length, 1);
    // The public part of a real one, with another secret: found, and no proof.
    await run("update refresh_tokens set lookup_id = $1 where lookup_id = $2", made.split("_")[1], lookupId);
    await refusedWith("REFRESH_TOKEN_INVALID", refresh(service, made));
    const noted = service.client(TokenService).revokeToken({ target: { case: "token", value: made } });
    await noted;
    assert.equal(await isEnded(sessionId), false);
  });

  test("is no credential either: no header takes a refresh token for one", async () => {
    const { refreshToken } = await add();
    for (const [name, value, reason] of [
      ["Authorization", `Bearer ${refreshToken}`, "TOKEN_INVALID"],
      ["X-API-Key", refreshToken, "API_KEY_INVALID"],
      ["X-Internal-Key", refreshToken, "SERVICE_KEY_INVALID"],
    ] as const) {
      const headers = [{ name, value }];
      await refusedWith(reason, service.client(AuthenticationService).authenticate({ headers }));
    }
    await refresh(service, refreshToken);
  });

  test("a refresh token is no longer one once it was used to log out", async () => {
    const person = await add();
    const next = await refresh(service, person.refreshToken);
    // One that was used is as good a proof as any: whoever has it has had the session.
    const target = { case: "token", value: person.refreshToken } as const;
    await replica.client(TokenService).revokeToken({ target });
    await refusedWith("TOKEN_REVOKED", refresh(service, next.refreshToken));
    await refusedWith("TOKEN_REVOKED", whoAmI(service, next));
    await replica.client(TokenService).revokeToken({ target });
  });
});
