import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { v4 as uuidv4 } from "uuid";
import {
  OrganizationChoicesSchema,
  type Session,
  SessionKind,
  SessionSchema,
} from "../../src/gen/latchkey/v1/token_pb.ts";
import {
  addApiKey,
  addOrganization,
  addRole,
  addServiceKey,
  addSession,
  addUser,
  makePassword,
  type Password,
} from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import {
  startService,
  type TestService,
  TokenService,
  transportTo,
  UserService,
} from "../support/service.ts";
import { addLoggedIn, type Headers, type LoggedIn, logIn, refresh, whoAmI } from "./session-support.ts";

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

const run = (sql: string, ...values: unknown[]) =>
  query<Record<string, unknown>>(service.connection, sql, values);
const client = (headers: Headers) => service.client(TokenService, { ...headers });
const add = (organizationId: string, role: string, more: object = {}): Promise<LoggedIn> =>
  addLoggedIn(service, password, { organizationId, role, ...more });

async function list(headers: Headers, asked: object): Promise<readonly Session[]> {
  return (await client(headers).listSessions(asked)).sessions;
}
const idsOf = (sessions: readonly { readonly id: string }[]) => sessions.map(({ id }) => id);

type Target = "sessionId" | "userId" | "token";
const end = (headers: Headers, kind: Target, value: string, organizationId = "") =>
  client(headers).revokeToken({ target: { case: kind, value }, organizationId });

/** Whether its tokens are refused, on the other replica's next call. */
async function isOver(person: LoggedIn): Promise<boolean> {
  const reasons = [
    await reasonOf(whoAmI(replica, person)),
    await reasonOf(refresh(replica, person.refreshToken)),
  ];
  assert.ok(
    reasons.every((reason) => reason === undefined || reason === "TOKEN_REVOKED"),
    String(reasons),
  );
  assert.equal(reasons[0], reasons[1]);
  return reasons[0] !== undefined;
}

describe("a list of sessions", () => {
  test("tells of each what there is to know, and no token", async () => {
    const organizationId = await addOrganization(service.core);
    const owner = await add(organizationId, "owner");
    const member = await add(organizationId, "member");
    const next = await refresh(service, member.refreshToken);
    const [session, ...others] = await list(owner.headers, { userId: member.id });
    assert.ok(session?.createTime && session.refreshTime && session.expireTime && session.idleExpireTime);
    assert.deepEqual(others, []);
    const { createTime, refreshTime, expireTime, idleExpireTime, ...rest } = session;
    assert.deepEqual(
      create(SessionSchema, rest),
      create(SessionSchema, {
        id: member.sessionId,
        userId: member.id,
        organizationId,
        kind: SessionKind.LOGIN,
        clientAddress: "127.0.0.1",
      }),
    );
    assert.ok(timestampDate(createTime) <= timestampDate(refreshTime));
    assert.equal(timestampDate(expireTime).getTime() - timestampDate(createTime).getTime(), 30 * 86_400_000);
    assert.deepEqual(timestampDate(idleExpireTime), next.refreshTokenExpireTime);
  });

  test("holds those that live, oldest first and page by page, and no other organization's", async () => {
    const organizationId = await addOrganization(service.core);
    const owner = await add(organizationId, "owner");
    const people = [owner];
    for (let turn = 0; turn < 4; turn++) {
      people.push(await add(organizationId, "viewer"));
    }
    await add(await addOrganization(service.core), "owner");
    const pages: string[][] = [];
    let pageToken = "";
    do {
      const page = await client(owner.headers).listSessions({ pageSize: 2, pageToken });
      pages.push(idsOf(page.sessions));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    const ids = people.map(({ sessionId }) => sessionId);
    assert.deepEqual(pages, [ids.slice(0, 2), ids.slice(2, 4), ids.slice(4)]);
    // A token of one list is none of another.
    const { nextPageToken } = await client(owner.headers).listSessions({ pageSize: 1 });
    const other = { pageSize: 1, pageToken: nextPageToken, userId: owner.id };
    await refusedWith("PAGE_TOKEN_INVALID", client(owner.headers).listSessions(other));
    // Ended in every way that there is.
    const ends = ["revoke_time = now()", "expire_time = now()", "idle_expire_time = now()"];
    for (const [at, change] of ends.entries()) {
      await run(`update sessions set ${change} where id = $1`, ids[at + 1]);
    }
    assert.deepEqual(idsOf(await list(owner.headers, {})), [ids[0], ids[4]]);
  });

  test("shows whom to whom", async () => {
    const { core, internalKey } = service;
    const [here, there] = [await addOrganization(core), await addOrganization(core)];
    await addRole(core, { organizationId: here, name: "agent", permissions: ["calls.read"] });
    const agent = await add(here, "agent");
    const viewer = await add(here, "viewer");
    const stranger = await add(there, "owner");
    // The same person elsewhere too.
    await addUser(core, { organizationId: there, role: "member", password, email: agent.email });
    const elsewhere = await logIn(service, { email: agent.email, password: password.text }, there);
    const platform = await add(await addOrganization(core), "viewer", { platformRole: "administrator" });
    const key = async (...permissions: string[]) => ({
      "x-api-key": (
        await addApiKey(core, { organizationId: here, owner: { userId: viewer.id }, permissions })
      ).text,
    });
    const sk = { "x-internal-key": internalKey };
    const mine = [agent.sessionId, elsewhere.sessionId];
    const both = [agent.sessionId, viewer.sessionId];

    const table: [string, Headers, object, readonly string[] | string][] = [
      ["an agent", agent.headers, {}, "PERMISSION_DENIED"],
      ["an agent, their own", agent.headers, { userId: agent.id }, mine],
      ["an agent, their own in upper case", agent.headers, { userId: agent.id.toUpperCase() }, mine],
      [
        "an agent, their own here",
        agent.headers,
        { userId: agent.id, organizationId: here },
        [agent.sessionId],
      ],
      [
        "an agent, their own there",
        agent.headers,
        { userId: agent.id, organizationId: there },
        "ORGANIZATION_MISMATCH",
      ],
      ["an agent, another's", agent.headers, { userId: viewer.id }, "PERMISSION_DENIED"],
      ["a viewer", viewer.headers, {}, both],
      ["a viewer, another's", viewer.headers, { userId: agent.id }, [agent.sessionId]],
      ["a viewer, a stranger's", viewer.headers, { userId: stranger.id }, []],
      ["a viewer, there", viewer.headers, { organizationId: there }, "ORGANIZATION_MISMATCH"],
      ["a stranger, of both", stranger.headers, { userId: agent.id }, [elsewhere.sessionId]],
      ["a platform administrator", platform.headers, {}, [platform.sessionId]],
      ["a platform administrator, here", platform.headers, { organizationId: here }, both],
      ["a platform administrator, anybody's", platform.headers, { userId: agent.id }, mine],
      ["an API key", await key("auth.sessions.read"), {}, both],
      ["an API key, a stranger's", await key("auth.sessions.read"), { userId: stranger.id }, []],
      [
        "an API key of its owner, without the permission",
        await key("calls.read"),
        { userId: viewer.id },
        "PERMISSION_DENIED",
      ],
      ["an internal key that names none", sk, {}, "ORGANIZATION_REQUIRED"],
      ["an internal key that names none, anybody's", sk, { userId: agent.id }, mine],
      ["an internal key for here", { ...sk, "x-org-id": here }, { userId: agent.id }, [agent.sessionId]],
      ["nobody", {}, { userId: agent.id }, "CREDENTIAL_MISSING"],
    ];
    for (const [who, headers, asked, expected] of table) {
      const outcome = await list(headers, asked).then(
        idsOf,
        async () => await reasonOf(list(headers, asked)),
      );
      assert.deepEqual(outcome, expected, who);
    }
  });
});

describe("sessions that are ended", () => {
  test("are over with all their tokens on every replica's next call, and are on record", async () => {
    const organizationId = await addOrganization(service.core);
    const admin = await add(organizationId, "admin");
    const member = await add(organizationId, "member");
    const second = { ...member, ...(await logIn(service, { email: member.email, password: password.text })) };
    await end(admin.headers, "sessionId", member.sessionId);
    assert.deepEqual([await isOver(member), await isOver(second)], [true, false]);
    // Once more is no error.
    await end(admin.headers, "sessionId", member.sessionId);
    const third = { ...member, ...(await logIn(service, { email: member.email, password: password.text })) };
    await end(admin.headers, "userId", member.id);
    assert.deepEqual([await isOver(second), await isOver(third), await isOver(admin)], [true, true, false]);
    await end(admin.headers, "userId", member.id);
    const events = await run(
      `select action, target_id, actor_id, organization_id, detail from audit_events
       where organization_id = $1 and action in ('session.revoke', 'user.end_sessions') order by id`,
      organizationId,
    );
    const by = { actor_id: admin.id, organization_id: organizationId };
    assert.deepEqual(
      events.map(({ detail, ...event }) => event),
      [
        { ...by, action: "session.revoke", target_id: member.sessionId },
        { ...by, action: "user.end_sessions", target_id: member.id },
      ],
    );
    const detail = events[1]?.["detail"] as { sessions: string[] } | undefined;
    assert.deepEqual(detail?.sessions.toSorted(), [second.sessionId, third.sessionId].toSorted());
    const tagged = await run("select distinct unnest(tags) as tag from changes");
    for (const { sessionId } of [member, second, third]) {
      assert.ok(tagged.some(({ tag }) => tag === `session:${sessionId}`));
    }
  });

  test("who may end whose", async () => {
    const { core, internalKey } = service;
    const [here, there] = [await addOrganization(core), await addOrganization(core)];
    await addRole(core, { organizationId: here, name: "agent", permissions: ["calls.read"] });
    await addRole(core, { organizationId: here, name: "helpdesk", permissions: ["auth.sessions.*"] });
    const person = async (role: string, organizationId = here, more: object = {}) =>
      (await add(organizationId, role, more)).headers;
    const internal = async (...permissions: string[]): Promise<Headers> => ({
      "x-internal-key": (await addServiceKey(core, { permissions })).text,
      "x-org-id": here,
    });
    const owner = await add(here, "owner");
    const apiKey = await addApiKey(core, {
      organizationId: here,
      owner: { userId: owner.id },
      permissions: ["auth.sessions.write"],
    });
    const [done, denied, only, held, none] = [
      "done",
      "PERMISSION_DENIED",
      "OWNER_REQUIRED",
      "PERMISSION_NOT_HELD",
      "NOT_FOUND",
    ];
    // Whom they may end the sessions of: a member, an owner, a member who is an administrator of the platform, and
    // somebody elsewhere. By the session's id, those who may end nobody's else cannot tell what there is.
    const table: [string, Headers, readonly string[], (readonly string[])?][] = [
      ["owner", owner.headers, [done, done, held, none]],
      ["admin", await person("admin"), [done, only, held, none]],
      ["helpdesk", await person("helpdesk"), [done, only, held, none]],
      ["agent", await person("agent"), [denied, denied, denied, denied], [none, none, none, none]],
      ["viewer", await person("viewer"), [denied, denied, denied, denied], [none, none, none, none]],
      ["owner elsewhere", await person("owner", there), [none, none, none, done]],
      ["API key", { "x-api-key": apiKey.text }, [done, only, held, none]],
      ["internal key for sessions", await internal("auth.sessions.write"), [done, only, held, none]],
      [
        "internal key of the platform's sessions",
        await internal("platform.sessions.write"),
        [done, done, done, none],
      ],
      [
        "internal key of all, for here",
        { "x-internal-key": internalKey, "x-org-id": here },
        [done, done, done, none],
      ],
      ["internal key of all, for none", { "x-internal-key": internalKey }, [done, done, done, done]],
      [
        "platform administrator",
        await person("viewer", there, { platformRole: "administrator" }),
        [done, done, done, done],
      ],
      ["nobody", {}, Array.from({ length: 4 }, () => "CREDENTIAL_MISSING")],
    ];
    const place = async (organizationId: string, role: string, more: object = {}) => ({
      organizationId,
      id: (await addUser(core, { organizationId, role, password, ...more })).id,
    });
    const targets = [
      await place(here, "member"),
      await place(here, "owner"),
      await place(here, "member", { platformRole: "administrator" }),
      await place(there, "member"),
    ];
    for (const [who, headers, byUser, bySession = byUser] of table) {
      for (const [kind, expected] of [
        ["sessionId", bySession],
        ["userId", byUser],
      ] as const) {
        const outcomes: string[] = [];
        for (const { id, organizationId } of targets) {
          const sessionId = await addSession(core, { organizationId, userId: id });
          const value = kind === "userId" ? id : sessionId;
          const outcome = (await reasonOf(end(headers, kind, value))) ?? "done";
          const [row] = await run(
            "select revoke_time is not null as ended from sessions where id = $1",
            sessionId,
          );
          assert.equal(row?.["ended"], outcome === "done", `${who} by ${kind}`);
          outcomes.push(outcome);
        }
        assert.deepEqual(outcomes, expected, `${who} by ${kind}`);
      }
    }
  });

  test("people end their own, wherever they are, with no permission at all", async () => {
    const { core } = service;
    const [here, there] = [await addOrganization(core), await addOrganization(core)];
    await addRole(core, { organizationId: here, name: "agent", permissions: [] });
    const person = async () => {
      const agent = await add(here, "agent");
      await addUser(core, { organizationId: there, role: "viewer", password, email: agent.email });
      const at = async (organizationId: string): Promise<LoggedIn> => ({
        ...agent,
        ...(await logIn(service, { email: agent.email, password: password.text }, organizationId)),
      });
      return { agent, second: await at(here), elsewhere: await at(there) };
    };
    {
      const { agent, second, elsewhere } = await person();
      await end(agent.headers, "sessionId", second.sessionId.toUpperCase());
      await end(agent.headers, "sessionId", elsewhere.sessionId);
      assert.deepEqual(
        [await isOver(agent), await isOver(second), await isOver(elsewhere)],
        [false, true, true],
      );
      await end(agent.headers, "sessionId", agent.sessionId, here);
      assert.equal(await isOver(agent), true);
    }
    {
      const { agent, second, elsewhere } = await person();
      await end(agent.headers, "userId", agent.id, here);
      assert.deepEqual(
        [await isOver(agent), await isOver(second), await isOver(elsewhere)],
        [true, true, false],
      );
    }
    {
      const { agent, second, elsewhere } = await person();
      await end(agent.headers, "userId", agent.id);
      assert.deepEqual(
        [await isOver(agent), await isOver(second), await isOver(elsewhere)],
        [true, true, true],
      );
    }
    {
      const { agent, elsewhere } = await person();
      const named = end(agent.headers, "sessionId", elsewhere.sessionId, here);
      await refusedWith("NOT_FOUND", named);
      await refusedWith("ORGANIZATION_MISMATCH", end(agent.headers, "sessionId", elsewhere.sessionId, there));
      assert.equal(await isOver(elsewhere), false);
    }
  });

  test("what is nobody's is not found, and an organization goes with no token", async () => {
    const sk = { "x-internal-key": service.internalKey };
    for (const kind of ["sessionId", "userId"] as const) {
      await refusedWith("NOT_FOUND", end(sk, kind, uuidv4()));
      await refusedWith("NOT_FOUND", end({ ...sk, "x-org-id": service.organizationId }, kind, uuidv4()));
    }
    const person = await add(service.organizationId, "member");
    await refusedWith("REQUEST_INVALID", end({}, "token", person.accessToken, service.organizationId));
    await refusedWith("REQUEST_INVALID", client({}).revokeToken({ target: { case: "token", value: "" } }));
    assert.equal(await isOver(person), false);
    // Whatever else is wrong with the call's own credential, the token in it is proof enough.
    await end({ "x-api-key": "ak_wrong" }, "token", person.accessToken);
    assert.equal(await isOver(person), true);
  });

  test("by many at once, and with a change of the password, without waiting for each other for good", async () => {
    const organizationId = await addOrganization(service.core);
    const [admin, owner] = [await add(organizationId, "admin"), await add(organizationId, "owner")];
    const member = await add(organizationId, "member");
    const logins = await Promise.all(
      Array.from({ length: 4 }, () => logIn(service, { email: member.email, password: password.text })),
    );
    await Promise.all([
      end(admin.headers, "userId", member.id),
      end(owner.headers, "userId", member.id),
      service.client(UserService, { ...admin.headers }).updateUser({ id: member.id, disabled: true }),
      ...logins.map(({ refreshToken }) => refresh(replica, refreshToken).catch(() => undefined)),
    ]);
    const left = await run("select from sessions where user_id = $1 and revoke_time is null", member.id);
    assert.deepEqual(left, []);
  });
});

describe("who belongs to several organizations and names none", () => {
  test("is told which there are, by id and name, and only with the right password", async () => {
    const named = async (name: string) => ({ id: await addOrganization(service.core, name), name });
    const organizations = [await named(`North ${uuidv4()}`), await named(`Süd ${uuidv4()}`)];
    const [first, second] = organizations;
    assert.ok(first && second);
    const { email } = await addUser(service.core, { organizationId: first.id, role: "viewer", password });
    await addUser(service.core, { organizationId: second.id, role: "owner", password, email });
    const call = logIn(service, { email, password: password.text });
    const error = await refusedWith("ORGANIZATION_REQUIRED", call);
    const [choices] = error.findDetails(OrganizationChoicesSchema);
    assert.ok(choices);
    assert.deepEqual(
      choices.organizations
        .map(({ id, name }) => ({ id, name }))
        .toSorted((a, b) => (a.name < b.name ? -1 : 1)),
      organizations,
    );
    assert.equal(choices.truncated, false);
    const wrong = await refusedWith("LOGIN_FAILED", logIn(service, { email, password: "wrong" }));
    assert.deepEqual(wrong.findDetails(OrganizationChoicesSchema), []);
    for (const { id } of organizations) {
      const { organization } = await whoAmI(
        service,
        await logIn(service, { email, password: password.text }, id),
      );
      assert.equal(organization?.id, id);
    }
  });

  test("is told no more than goes into the trailers of gRPC", async () => {
    const { core } = service;
    const name = () => `${uuidv4()}${"字".repeat(64)}`;
    const { email } = await addUser(core, {
      organizationId: await addOrganization(core, name()),
      role: "viewer",
      password,
    });
    for (let turn = 0; turn < 29; turn++) {
      await addUser(core, {
        organizationId: await addOrganization(core, name()),
        role: "viewer",
        password,
        email,
      });
    }
    const grpc = createClient(TokenService, transportTo(service.url, "grpc", "2"));
    const grant = { case: "password", value: { email, password: password.text } } as const;
    const error = await refusedWith("ORGANIZATION_REQUIRED", grpc.issueToken({ grant }));
    const [choices] = error.findDetails(OrganizationChoicesSchema);
    assert.ok(choices?.truncated);
    assert.ok(choices.organizations.length > 5 && choices.organizations.length < 30);
    const trailers = [...error.metadata].reduce(
      (sum, [key, value]) => sum + key.length + value.length + 32,
      0,
    );
    assert.ok(trailers > 4096 && trailers < 8192, String(trailers));
  });
});
