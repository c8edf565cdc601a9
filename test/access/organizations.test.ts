import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import { query } from "../support/cluster.ts";
import { reasonOf, refusedWith } from "../support/refusal.ts";
import { OrganizationService, startService, type TestService } from "../support/service.ts";

let service: TestService;
before(async () => {
  service = await startService();
});
after(() => service.stop());

const client = () => service.client(OrganizationService, { "x-internal-key": service.internalKey });

test("of 20 at once who create an organization of one name, in any case and form, one succeeds", async () => {
  const name = `Caf\u00e9 ${uuidv4()}`;
  const spellings = [
    name,
    name.toUpperCase(),
    name.toLowerCase(),
    name.normalize("NFD"),
    name.replace("C", "\uff23"),
  ];
  const reasons = await Promise.all(
    Array.from({ length: 20 }, (_, turn) =>
      reasonOf(client().createOrganization({ name: spellings[turn % spellings.length] ?? name })),
    ),
  );
  assert.deepEqual(reasons.toSorted(), [
    ...Array.from({ length: 19 }, () => "ORGANIZATION_NAME_TAKEN"),
    undefined,
  ]);
  const rows = await query(
    service.connection,
    `select o.id, count(*)::int as roles from organizations o join roles r on r.organization_id = o.id
     where o.name_key = $1 group by 1`,
    [name.normalize("NFKC").toLowerCase()],
  );
  assert.equal(rows.length, 1);
  assert.equal(rows[0] && "roles" in rows[0] && rows[0].roles, 4);
});

test("the name of an organization that is suspended stays taken", async () => {
  const { organization } = await client().createOrganization({ name: `org ${uuidv4()}` });
  assert.ok(organization);
  await client().updateOrganization({ id: organization.id, suspended: true });
  await refusedWith("ORGANIZATION_NAME_TAKEN", client().createOrganization({ name: organization.name }));
});

test("an organization that two suspend and resume at once ends in one of the two states, with both recorded", async () => {
  const { organization } = await client().createOrganization({ name: `org ${uuidv4()}` });
  const id = organization?.id ?? "";
  await Promise.all(
    Array.from({ length: 10 }, (_, turn) => client().updateOrganization({ id, suspended: turn % 2 === 0 })),
  );
  const events = await query<{ action: string }>(
    service.connection,
    "select action from audit_events where target_id = $1 and action <> 'organization.create' order by id",
    [id],
  );
  const suspends = events.filter(({ action }) => action === "organization.suspend").length;
  const resumes = events.length - suspends;
  const { organization: last } = await client().getOrganization({ id });
  // Each that is recorded changed something: they alternate.
  assert.equal(suspends - resumes, last?.suspended ? 1 : 0);
});
