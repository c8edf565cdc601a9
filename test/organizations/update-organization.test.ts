import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import { bearer } from "../access/actors.ts";
import { addOrganization } from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { refusedWith } from "../support/refusal.ts";
import { OrganizationService, startService, type TestService } from "../support/service.ts";

let service: TestService;
let client: ReturnType<typeof service.client<typeof OrganizationService>>;
before(async () => {
  service = await startService();
  client = service.client(OrganizationService, bearer(await service.logIn()));
});
after(() => service.stop());

const lastEvent = async (id: string) =>
  (
    await query(
      service.connection,
      "select action, detail from audit_events where organization_id = $1 order by id desc limit 1",
      [id],
    )
  )[0];

test("an organization gets another name, which is then taken, and the former one is free", async () => {
  const [former, name] = [`org ${uuidv4()}`, `Org ${uuidv4()}`];
  const id = await addOrganization(service.core, former);
  const { organization } = await client.updateOrganization({ id, name });
  assert.equal(organization?.name, name);
  assert.deepEqual(await lastEvent(id), {
    action: "organization.update",
    detail: { before: { name: former }, after: { name } },
  });
  const another = await addOrganization(service.core, former);
  await refusedWith(
    "ORGANIZATION_NAME_TAKEN",
    client.updateOrganization({ id: another, name: name.toLowerCase() }),
  );
  await refusedWith("REQUEST_INVALID", client.updateOrganization({ id, name: "" }));
  // Its own name in another case is no other organization's.
  await client.updateOrganization({ id, name: name.toUpperCase() });
});

test("a name and a suspension change together, or not at all", async () => {
  const [taken, name] = [`org ${uuidv4()}`, `org ${uuidv4()}`];
  await addOrganization(service.core, taken);
  const id = await addOrganization(service.core);
  await refusedWith(
    "ORGANIZATION_NAME_TAKEN",
    client.updateOrganization({ id, name: taken, suspended: true }),
  );
  assert.equal((await client.getOrganization({ id })).organization?.suspended, false);
  const { organization } = await client.updateOrganization({ id, name, suspended: true });
  assert.deepEqual([organization?.name, organization?.suspended], [name, true]);
});

test("of several who take one name at once, one has it", async () => {
  const name = `org ${uuidv4()}`;
  const ids = await Promise.all(Array.from({ length: 5 }, () => addOrganization(service.core)));
  const results = await Promise.allSettled([
    ...ids.map((id) => client.updateOrganization({ id, name })),
    client.createOrganization({ name }),
  ]);
  assert.equal(results.filter(({ status }) => status === "fulfilled").length, 1);
});
