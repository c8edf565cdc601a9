import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import { RoleService } from "../../src/gen/latchkey/v1/role_pb.ts";
import { addApiKey, addOrganization, addRole, addUser, makePassword, type Password } from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import { startService, type TestService, UserService } from "../support/service.ts";
import { addPerson, type Headers, type Person, rightsOf } from "../users/people.ts";
import { whileHolding } from "../users/while-holding.ts";

let service: TestService;
/** Another replica on the same database. */
let replica: TestService;
let password: Password;
let organizationId: string;
let owner: Person;
before(async () => {
  service = await startService();
  replica = await startService({ beside: service });
  password = await makePassword(service.core);
  organizationId = await addOrganization(service.core);
  owner = await addPerson(service, password, organizationId, "owner");
});
after(async () => {
  await replica.stop();
  await service.stop();
});

const run = <Row extends object>(sql: string, ...values: unknown[]) =>
  query<Row>(service.connection, sql, values);

const make = async (permissions: readonly string[] = ["calls.read"]) => {
  const name = `role-${uuidv4().slice(0, 8)}`;
  return { name, id: await addRole(service.core, { organizationId, name, permissions }) };
};

const member = async () => (await addUser(service.core, { organizationId, role: "viewer", password })).id;

const remove = (id: string, on = service) => on.client(RoleService, owner.headers).deleteRole({ id });
const assign = (id: string, role: string, on = service) =>
  on.client(UserService, owner.headers).updateUser({ id, role });
const createWith = (role: string, on = service) =>
  on
    .client(UserService, owner.headers)
    .createUser({ email: `${uuidv4()}@people.test`, role, password: password.text });

async function stateOf(id: string): Promise<{ exists: boolean; people: number }> {
  const people = await run("select from memberships where role_id = $1", id);
  return { exists: (await run("select from roles where id = $1", id)).length > 0, people: people.length };
}

test("a role that is being given to somebody is not deleted", async () => {
  const ways = [
    ["update memberships set role_id = $1 where user_id = $2", await member()],
    [
      `insert into memberships (id, organization_id, user_id, role_id, display_name)
       select gen_random_uuid(), r.organization_id, $2, $1, '' from roles r where r.id = $1`,
      (await addUser(service.core, { organizationId: service.organizationId, role: "viewer", password })).id,
    ],
  ] as const;
  for (const [sql, userId] of ways) {
    const { id } = await make();
    const reason = await whileHolding(service.connection, sql, [id, userId], () => reasonOf(remove(id)));
    assert.equal(reason, "ROLE_IN_USE");
    assert.deepEqual(await stateOf(id), { exists: true, people: 1 });
  }
});

test("a role that is being deleted is not given to anybody", async () => {
  const deleting = "delete from roles where id = $1";
  const userId = await member();
  for (const give of [(role: string) => assign(userId, role), (role: string) => createWith(role)]) {
    const { id, name } = await make();
    const reason = await whileHolding(service.connection, deleting, [id], () => reasonOf(give(name)));
    assert.equal(reason, "ROLE_UNKNOWN");
    assert.deepEqual(await stateOf(id), { exists: false, people: 0 });
  }
});

test("a role that comes to allow more while it is given away is given only by whoever holds that too", async () => {
  const helpdesk = await make(["auth.users.write", "calls.read"]);
  const { headers } = await addPerson(service, password, organizationId, helpdesk.name);
  const users = service.client(UserService, headers);
  const id = await member();
  const gives = [
    (role: string) => users.updateUser({ id, role }),
    (role: string) => users.createUser({ email: `${uuidv4()}@people.test`, role, password: password.text }),
  ];
  const widening = "update roles set permissions = '{calls.read,calls.write}' where id = $1";
  for (const give of gives) {
    const role = await make(["calls.read"]);
    const reason = await whileHolding(service.connection, widening, [role.id], () =>
      reasonOf(give(role.name)),
    );
    assert.equal(reason, "PERMISSION_NOT_HELD");
    assert.deepEqual(await stateOf(role.id), { exists: true, people: 0 });
  }
});

test("given and deleted at once, on two replicas: one of both is done, and nobody has a role that is gone", async () => {
  for (let round = 0; round < 12; round++) {
    const { id, name } = await make();
    const userId = await member();
    const [given, made, deleted] = await Promise.all([
      reasonOf(assign(userId, name, replica)),
      reasonOf(createWith(name, replica)),
      reasonOf(remove(id)),
    ]);
    const people = [given, made].filter((reason) => reason === undefined).length;
    assert.ok(
      [given, made].every((reason) => reason === undefined || reason === "ROLE_UNKNOWN"),
      `${given} ${made}`,
    );
    assert.equal(deleted, people > 0 ? "ROLE_IN_USE" : undefined);
    assert.deepEqual(await stateOf(id), { exists: people > 0, people });
  }
});

test("people of one role who all change it at once wait for each other, and for nothing else", async () => {
  const managers = await make(["auth.roles.write", "auth.users.write", "calls.*"]);
  const people = await Promise.all(
    Array.from({ length: 4 }, () => addPerson(service, password, organizationId, managers.name)),
  );
  for (let round = 0; round < 4; round++) {
    const calls = people.flatMap(({ headers }, turn) => {
      const on = turn % 2 === 0 ? service : replica;
      const extra = `calls.${["read", "write", "live", "hold"][turn]}`;
      const permissions = { values: ["auth.roles.write", "auth.users.write", "calls.*", extra] };
      return [
        reasonOf(on.client(RoleService, headers).updateRole({ id: managers.id, permissions })),
        reasonOf(
          on.client(UserService, headers).createUser({
            email: `${uuidv4()}@people.test`,
            role: managers.name,
            password: password.text,
          }),
        ),
      ];
    });
    const outcomes = await Promise.all(calls);
    // Whoever's own role has lost a name meanwhile is told to try again.
    assert.ok(
      outcomes.every((reason) => reason === undefined || reason === "PERMISSION_DENIED"),
      String(outcomes),
    );
  }
});

/** A replica that stops between the decision about the actor and the transaction that follows from it. */
async function withSlowReplica(
  work: (slow: TestService, during: (lose: () => Promise<unknown>) => void) => Promise<void>,
): Promise<void> {
  let lose: (() => Promise<unknown>) | undefined;
  const slow = await startService({
    beside: service,
    wrapCore: ({ storage, ...core }) => ({
      ...core,
      storage: {
        ...storage,
        fork() {
          const em = storage.fork();
          const original = em.transactional.bind(em);
          em.transactional = async (...given: Parameters<typeof em.transactional>) => {
            const now = lose;
            lose = undefined;
            await now?.();
            return (await original(...given)) as never;
          };
          return em;
        },
      },
    }),
  });
  try {
    await work(slow, (next) => {
      lose = next;
    });
  } finally {
    await slow.stop();
  }
}

test("whoever is demoted while they give something gives nothing", async () => {
  await withSlowReplica(async (slow, during) => {
    const target = await make(["calls.read"]);
    const manager = ["auth.roles.write", "auth.users.write", "calls.read", "calls.live"];
    const losses: [string, (person: Person, role: { id: string }) => Promise<unknown>][] = [
      ["another role", ({ id }) => assign(id, "viewer")],
      [
        "a role that allows less",
        (_person, { id }) =>
          service
            .client(RoleService, owner.headers)
            .updateRole({ id, permissions: { values: ["auth.roles.write", "auth.users.write"] } }),
      ],
      [
        "a role of names, where they held a pattern",
        (_person, { id }) =>
          run("update roles set permissions = array_remove(permissions, 'auth.users.*') where id = $1", id),
      ],
    ];
    const gifts: [string, (headers: Headers, userId: string) => Promise<unknown>][] = [
      [
        "creates a role",
        (headers) =>
          slow.client(RoleService, headers).createRole({
            name: `role-${uuidv4().slice(0, 8)}`,
            permissions: { values: ["calls.live"] },
          }),
      ],
      [
        "widens a role",
        (headers) =>
          slow
            .client(RoleService, headers)
            .updateRole({ id: target.id, permissions: { values: ["calls.read", "calls.live"] } }),
      ],
      [
        "gives a role",
        (headers, id) => slow.client(UserService, headers).updateUser({ id, role: target.name }),
      ],
    ];
    for (const [lost, lose] of losses) {
      for (const [gift, give] of gifts) {
        const role = await make([...manager, "auth.users.read", "auth.users.*"]);
        const person = await addPerson(service, password, organizationId, role.name);
        const userId = await member();
        const before = await run("select * from roles where id <> $1 order by id", role.id);
        during(() => lose(person, role));
        const error = await refusedWith("PERMISSION_DENIED", give(person.headers, userId));
        assert.match(error.rawMessage, /in the meantime/, `${gift}, and lost ${lost}`);
        const afterwards = await run("select * from roles where id <> $1 order by id", role.id);
        assert.deepEqual(afterwards, before, `${gift}, and lost ${lost}`);
        const [row] = await run<{ name: string }>(
          "select r.name from memberships m join roles r on r.id = m.role_id where m.user_id = $1",
          userId,
        );
        assert.equal(row?.name, "viewer", `${gift}, and lost ${lost}`);
      }
    }
  });
});

test("an owner who is made an admin meanwhile makes no owner, though both hold the same permissions", async () => {
  await withSlowReplica(async (slow, during) => {
    const other = await addPerson(service, password, organizationId, "owner");
    const userId = await member();
    during(() => assign(other.id, "admin"));
    const call = slow.client(UserService, other.headers).updateUser({ id: userId, role: "owner" });
    await refusedWith("PERMISSION_DENIED", call);
    assert.ok((await rightsOf(service, other.headers)).length > 0);
  });
});

test("an API key gives nothing any more once its owner is demoted, though it was decided that it may", async () => {
  await withSlowReplica(async (slow, during) => {
    const target = await make(["calls.live"]);
    for (const lose of [
      (id: string) => assign(id, "viewer"),
      (id: string) => service.client(UserService, owner.headers).updateUser({ id, disabled: true }),
    ]) {
      const maker = await addPerson(service, password, organizationId, "admin");
      const key = await addApiKey(service.core, {
        organizationId,
        owner: { userId: maker.id },
        permissions: ["auth.users.write", "calls.live"],
      });
      const before = await stateOf(target.id);
      during(() => lose(maker.id));
      const reason = await reasonOf(
        slow.client(UserService, { "x-api-key": key.text }).createUser({
          email: `${uuidv4()}@people.test`,
          role: target.name,
          password: password.text,
        }),
      );
      assert.ok(reason === "PERMISSION_DENIED" || reason === "API_KEY_CREATOR_INACTIVE", reason);
      assert.deepEqual(await stateOf(target.id), before);
    }
  });
});
