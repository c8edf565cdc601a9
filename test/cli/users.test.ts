import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { v4 as uuidv4 } from "uuid";
import { makePassword, type Password } from "../access/cast.ts";
import { startService, type TestService } from "../support/service.ts";
import { addPerson, refusalOf } from "../users/people.ts";
import { field, linesOf, operatorOf, operatorWith } from "./operator.ts";

const CHOSEN = "correct horse battery staple";

let service: TestService;
let password: Password;
before(async () => {
  service = await startService();
  password = await makePassword(service.core);
});
after(() => service.stop());

const freshEmail = () => `${uuidv4()}@people.test`;

it("invites somebody, who accepts as nobody in particular, and is then looked at and changed", async (t) => {
  const operator = operatorOf(t, service);
  const email = freshEmail();
  const shown = await operator.does(["user", "invite", email, "--role", "member", "--name", "Ann Lee"]);
  const id = field(shown, "id") ?? assert.fail(shown);
  assert.deepEqual([field(shown, "state"), field(shown, "name")], ["pending", "Ann Lee"]);
  const invitation = field(shown, "invitation") ?? assert.fail(shown);

  const person = operatorWith(t, { LATCHKEY_URL: service.url });
  // The password may hold spaces, at its ends too.
  const chosen = `  ${CHOSEN} `;
  const accepted = await person.asks(["user", "accept", email], { input: `${invitation}\n${chosen}\n` });
  assert.equal(accepted.organizationId, service.organizationId);
  assert.deepEqual(Object.keys(accepted).toSorted(), ["organizationId", "revision"]);
  await service.logIn(email, chosen);

  assert.equal(field(await operator.does(["user", "get", id]), "state"), "active");
  const listed = await operator.lists(["user", "list"]);
  assert.deepEqual(
    listed.filter((user) => user.id === id).map(({ role, pending }) => [role, pending]),
    [["member", false]],
  );
  const updated = await operator.asks(["user", "update", id, "--role", "viewer", "--name", ""]);
  assert.deepEqual([updated.user.role, updated.user.displayName], ["viewer", ""]);
  assert.equal(field(await operator.does(["user", "disable", id]), "state"), "disabled");
  assert.equal(field(await operator.does(["user", "enable", id]), "state"), "active");
  const memberships = await operator.lists(["user", "memberships", id]);
  assert.deepEqual(
    memberships.map((row) => [row.organizationName, row.role]),
    [["acme", "viewer"]],
  );
  assert.equal(await operator.does(["user", "remove", id]), "removed\n");
  assert.match(await operator.fails(["user", "get", id]), /^NOT_FOUND: /);
});

it("takes initial and one-time passwords to be changed, and tells neither in an argument", async (t) => {
  const operator = operatorOf(t, service);
  const person = operatorWith(t, { LATCHKEY_URL: service.url });
  const email = freshEmail();
  const initial = "an initial password";
  const invited = await operator.asks(["user", "invite", email, "--role", "viewer", "--initial-password"], {
    input: initial,
  });
  const change = (from: string, to: string) =>
    person.does(["user", "change-password", email], { input: `${from}\n${to}` });
  assert.equal(await change(initial, CHOSEN), "changed\n");
  await service.logIn(email, CHOSEN);
  const reset = await operator.does(["user", "reset-password", invited.user.id]);
  const oneTime = field(reset, "password") ?? assert.fail(reset);
  assert.match(oneTime, /^[\w-]{32}$/);
  assert.match(field(reset, "expires") ?? "", /^\d{4}-/);
  await change(oneTime, `${CHOSEN} again`);
  await service.logIn(email, `${CHOSEN} again`);
});

it("deletes an account everywhere, and says what became of its keys", async (t) => {
  const person = await addPerson(service, password, service.organizationId, "member");
  // It acts for an organization, and the account is nobody's of it alone: the command looks for it everywhere.
  const operator = operatorOf(t, service);
  assert.deepEqual(linesOf(await operator.does(["user", "delete", person.id])), ["deleted"]);
  assert.equal(await refusalOf(service, person.headers), "USER_DISABLED");
});

it("lists one's own memberships with one's own token", async (t) => {
  const person = await addPerson(service, password, service.organizationId, "viewer");
  const token = person.headers["authorization"]?.slice("Bearer ".length) ?? "";
  const rows = linesOf(await operatorOf(t, service, token).does(["user", "memberships"]));
  assert.match(rows[1] ?? "", new RegExp(`^${service.organizationId} +acme +viewer +active$`));
});

it("says what is wrong with what it was given", async (t) => {
  const operator = operatorOf(t, service);
  const person = operatorWith(t, { LATCHKEY_URL: service.url });
  for (const input of ["", "one line", "a\n\n", "a\nb\nc"]) {
    const line = await person.fails(["user", "change-password", "ann@people.test"], { input });
    assert.equal(line, "standard input holds, a line each: current password, then new password");
  }
  const guess = await person.fails(["user", "accept", "ann@people.test"], { input: `in_none\n${CHOSEN}` });
  assert.match(guess, /^LOGIN_FAILED: /);
  assert.match(await operator.mistypes(["user", "update", uuidv4()]), /^nothing to change was given/);
  assert.match(await operator.mistypes(["user", "invite", "ann@people.test"]), /--role/);
});
