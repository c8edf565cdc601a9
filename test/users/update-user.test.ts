import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  addOrganization,
  addRole,
  addServiceKey,
  addUser,
  makePassword,
  type Password,
  type UserToAdd,
} from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import { AuthenticationService, startService, type TestService, UserService } from "../support/service.ts";
import { addPerson as addPersonTo, type Headers, type Person } from "./people.ts";

let service: TestService;
let password: Password;
before(async () => {
  service = await startService();
  password = await makePassword(service.core);
});
after(() => service.stop());

const addPerson = (of: string, role: string, more: Partial<UserToAdd> = {}): Promise<Person> =>
  addPersonTo(service, password, of, role, more);

const setDisabled = (headers: Headers, id: string, disabled: boolean | undefined, organizationId = "") =>
  service
    .client(UserService, headers)
    .updateUser({ id, organizationId, ...(disabled !== undefined && { disabled }) });

const whoAmI = (headers: Headers) => reasonOf(service.client(AuthenticationService, headers).whoAmI({}));

async function activeOwners(organizationId: string): Promise<number> {
  const rows = await query(
    service.connection,
    `select from memberships m join roles r on r.id = m.role_id
     where m.organization_id = $1 and r.name = 'owner' and m.disable_time is null and m.accept_time is not null`,
    [organizationId],
  );
  return rows.length;
}

test("a user who is disabled is refused from the moment that the call answers, and let in again when enabled", async () => {
  const { organizationId } = service;
  const admin = await addPerson(organizationId, "admin");
  const member = await addPerson(organizationId, "member");
  assert.equal((await setDisabled(admin.headers, member.id, true)).user?.disabled, true);
  assert.equal(await whoAmI(member.headers), "USER_DISABLED");
  await refusedWith("LOGIN_FAILED", service.logIn(member.email, password.text));
  assert.equal((await setDisabled(admin.headers, member.id, false)).user?.disabled, false);
  // They log in anew: what they had before stays ended.
  assert.equal(await whoAmI(member.headers), "TOKEN_REVOKED");
  await service.logIn(member.email, password.text);
});

test("a user who is disabled in one organization goes on in the others", async () => {
  const [here, there] = [await addOrganization(service.core), await addOrganization(service.core)];
  const owner = await addPerson(here, "owner");
  const member = await addPerson(here, "member");
  await addUser(service.core, { organizationId: there, role: "member", password, email: member.email });
  await setDisabled(owner.headers, member.id, true);
  const token = await service.logIn(member.email, password.text);
  const { organization } = await service
    .client(AuthenticationService, { authorization: `Bearer ${token}` })
    .whoAmI({});
  assert.equal(organization?.id, there);
});

test("the last owner who can act is not disabled, whoever asks", async () => {
  const organizationId = await addOrganization(service.core);
  const owner = await addPerson(organizationId, "owner");
  // These do not count: they cannot act.
  await addPerson(organizationId, "owner", { accepted: false });
  await addPerson(organizationId, "owner", { disabled: true });
  await addPerson(await addOrganization(service.core), "owner");
  const platform = await addServiceKey(service.core, { permissions: ["*"] });
  const internal = { "x-internal-key": platform.text, "x-org-id": organizationId };
  await refusedWith("LAST_OWNER", setDisabled(owner.headers, owner.id, true));
  await refusedWith("LAST_OWNER", setDisabled(internal, owner.id, true));
  assert.equal(await activeOwners(organizationId), 1);
});

test("of two owners who disable each other at once, exactly one succeeds", async () => {
  for (let round = 0; round < 8; round++) {
    const organizationId = await addOrganization(service.core);
    const [one, other] = [await addPerson(organizationId, "owner"), await addPerson(organizationId, "owner")];
    const reasons = await Promise.all([
      reasonOf(setDisabled(one.headers, other.id, true)),
      reasonOf(setDisabled(other.headers, one.id, true)),
    ]);
    // The loser met the rule, or was refused already since they were disabled by then.
    const loser = reasons.find((reason) => reason !== undefined);
    assert.equal(reasons.filter((reason) => reason === undefined).length, 1, String(reasons));
    assert.ok(loser === "LAST_OWNER" || loser === "USER_DISABLED", loser);
    assert.equal(await activeOwners(organizationId), 1);
  }
});

test("of many owners who all disable themselves at once, one remains", async () => {
  const organizationId = await addOrganization(service.core);
  const owners = [];
  for (let turn = 0; turn < 6; turn++) {
    owners.push(await addPerson(organizationId, "owner"));
  }
  const reasons = await Promise.all(
    owners.map(({ headers, id }) => reasonOf(setDisabled(headers, id, true))),
  );
  assert.deepEqual(reasons.toSorted(), ["LAST_OWNER", ...Array.from({ length: 5 }, () => undefined)]);
  assert.equal(await activeOwners(organizationId), 1);
});

test("who may disable and enable whom", async () => {
  const { core } = service;
  const organizationId = await addOrganization(core);
  await addRole(core, { organizationId, name: "helpdesk", permissions: ["auth.users.*"] });
  const internal = async (...permissions: string[]): Promise<Headers> => ({
    "x-internal-key": (await addServiceKey(core, { permissions })).text,
    "x-org-id": organizationId,
  });
  const person = async (role: string) => (await addPerson(organizationId, role)).headers;
  const platform = await addPerson(await addOrganization(core), "viewer", { platformRole: "administrator" });

  const targets = ["owner", "admin", "member", "helpdesk"];
  const [done, owner, held, denied] = ["done", "OWNER_REQUIRED", "PERMISSION_NOT_HELD", "PERMISSION_DENIED"];
  // Who, whom they may disable, and whom they may enable.
  const table: [string, Headers, string[], string[]][] = [
    ["owner", await person("owner"), [done, done, done, done], [done, done, done, done]],
    ["admin", await person("admin"), [owner, done, done, done], [owner, done, done, done]],
    ["helpdesk", await person("helpdesk"), [owner, done, done, done], [owner, held, held, done]],
    ["member", await person("member"), [denied, denied, denied, denied], [denied, denied, denied, denied]],
    ["viewer", await person("viewer"), [denied, denied, denied, denied], [denied, denied, denied, denied]],
    ["internal key of all", await internal("*"), [done, done, done, done], [done, done, done, done]],
    [
      "internal key for users",
      await internal("auth.users.write"),
      [owner, done, done, done],
      [owner, held, held, held],
    ],
    [
      "internal key of the platform's users",
      await internal("platform.users.write"),
      [done, done, done, done],
      [held, held, held, held],
    ],
    ["platform administrator", platform.headers, [done, done, done, done], [held, held, held, held]],
  ];
  const outcomes: [string, string[], string[]][] = [];
  for (const [actor, headers] of table) {
    const disabling: string[] = [];
    const enabling: string[] = [];
    for (const target of targets) {
      const where = actor === "platform administrator" ? organizationId : "";
      const active = await addUser(core, { organizationId, role: target, password });
      disabling.push((await reasonOf(setDisabled(headers, active.id, true, where))) ?? "done");
      const shutOut = await addUser(core, { organizationId, role: target, password, disabled: true });
      enabling.push((await reasonOf(setDisabled(headers, shutOut.id, false, where))) ?? "done");
    }
    outcomes.push([actor, disabling, enabling]);
  }
  assert.deepEqual(
    outcomes,
    table.map(([actor, , ...rows]) => [actor, ...rows]),
  );
});

test("only the platform shuts out its administrators, whatever else they are", async () => {
  const organizationId = await addOrganization(service.core);
  const owner = await addPerson(organizationId, "owner");
  const target = await addPerson(organizationId, "member", { platformRole: "administrator" });
  await refusedWith("PERMISSION_NOT_HELD", setDisabled(owner.headers, target.id, true));
  const platform = await addServiceKey(service.core, { permissions: ["*"] });
  await setDisabled({ "x-internal-key": platform.text, "x-org-id": organizationId }, target.id, true);
});

test("an owner of another organization, and being an owner there too, is nothing here", async () => {
  const [here, there] = [await addOrganization(service.core), await addOrganization(service.core)];
  const owner = await addPerson(here, "owner");
  await addPerson(here, "owner");
  const stranger = await addPerson(there, "owner");
  await refusedWith("NOT_FOUND", setDisabled(stranger.headers, owner.id, true));
  await refusedWith("ORGANIZATION_MISMATCH", setDisabled(stranger.headers, owner.id, true, here));
  // Somebody who is an owner there and a member here acts for the one that their token is of.
  await addUser(service.core, { organizationId: here, role: "admin", password, email: stranger.email });
  await refusedWith("ORGANIZATION_MISMATCH", setDisabled(stranger.headers, owner.id, true, here));
});

test("what is not set stays as it is", async () => {
  const { organizationId } = service;
  const admin = await addPerson(organizationId, "admin");
  const disabled = await addUser(service.core, { organizationId, role: "member", password, disabled: true });
  assert.equal((await setDisabled(admin.headers, disabled.id, undefined)).user?.disabled, true);
  const owner = await addPerson(await addOrganization(service.core), "owner");
  assert.equal((await setDisabled(owner.headers, owner.id, undefined)).user?.disabled, false);
});
