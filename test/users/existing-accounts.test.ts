import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import { migrate } from "../../src/storage/migrate.ts";
import { addOrganization, addUser, makePassword, type Password } from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { refusedWith } from "../support/refusal.ts";
import { startService, type TestService, UserService } from "../support/service.ts";

// What the version before accounts could be claimed has left, and what it goes on writing beside this one.

let service: TestService;
let password: Password;
before(async () => {
  service = await startService();
  password = await makePassword(service.core);
});
after(() => service.stop());

const run = <Row extends object>(sql: string, ...values: unknown[]) =>
  query<Row>(service.connection, sql, values);

test("who was there before is claimed, logs in, and belongs to the organization that they accepted first", async () => {
  const { core, organizationId, connection } = service;
  const [first, second] = [await addOrganization(core), await addOrganization(core)];
  const person = await addUser(core, { organizationId: first, role: "member", password });
  const waiting = await addUser(core, { organizationId, role: "member", password });
  await addUser(core, { organizationId: second, role: "member", password, email: person.email });
  // An older one that was never accepted made nobody's account.
  await addUser(core, {
    organizationId: second,
    role: "member",
    password,
    email: waiting.email,
    accepted: false,
  });
  await run("update memberships set create_time = now() - interval '1 day' where accept_time is null");
  await run("update memberships set remove_time = now() where organization_id = $1", first);
  await run(`
    alter table users drop column password_change_required, drop column home_organization_id,
      drop column claim_time, drop column delete_time, alter column password_hash set not null;
    alter table memberships drop column invitation_lookup_id, drop column invitation_digest,
      drop column invitation_pepper_id, drop column invitation_expire_time;
    alter table idempotency_keys drop column subject_id;
    delete from latchkey_migrations where name = '0006-accounts'`);
  assert.deepEqual(await migrate(connection, "production"), ["0006-accounts"]);
  const rows = await run(
    `select id, home_organization_id as home, claim_time = create_time as claimed, password_change_required as must
     from users where id = any($1) order by id`,
    [person.id, waiting.id],
  );
  assert.deepEqual(
    rows,
    [
      { id: person.id, home: first, claimed: true, must: false },
      { id: waiting.id, home: organizationId, claimed: true, must: false },
    ].toSorted((one, other) => (one.id < other.id ? -1 : 1)),
  );
  await service.logIn(person.email, password.text);
  await service.logIn(waiting.email, password.text);
});

test("an account that the version before adds meanwhile is a claimed one, and no organization's to take", async () => {
  const { organizationId } = service;
  const [id, email] = [uuidv4(), `${uuidv4()}@people.test`];
  await run("insert into users (id, email, password_hash) values ($1, $2, $3)", id, email, password.hash);
  await run(
    `insert into memberships (id, organization_id, user_id, role_id, display_name, accept_time)
     select $1, $2, $3, id, '', now() from roles where organization_id = $2 and name = 'member'`,
    uuidv4(),
    organizationId,
    id,
  );
  await service.logIn(email, password.text);
  const owner = await addUser(service.core, { organizationId, role: "owner", password });
  const headers = { authorization: `Bearer ${await service.logIn(owner.email, password.text)}` };
  await refusedWith("ACCOUNT_NOT_MANAGED", service.client(UserService, headers).resetPassword({ id }));
  // And a membership that it left pending has no invitation that could be guessed at.
  const pending = await addUser(service.core, { organizationId, role: "member", password, accepted: false });
  const acceptance = { email: pending.email, invitation: "in_none", password: password.text };
  await refusedWith("LOGIN_FAILED", service.client(UserService).acceptMembership(acceptance));
});
