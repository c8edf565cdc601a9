import assert from "node:assert/strict";
import { before, test } from "node:test";
import { BUILT_IN_ROLES } from "../../src/permissions/built-in-roles.ts";
import { type Catalogue, expandPatterns } from "../../src/permissions/permission-pattern.ts";
import { createDatabase, query } from "../support/cluster.ts";

let catalogue: Catalogue;
before(async () => {
  const rows = await query<{ name: string; scope: string }>(
    await createDatabase(),
    "select name, scope from permissions",
  );
  const ofScope = (scope: string) => rows.filter((row) => row.scope === scope).map((row) => row.name);
  catalogue = { organization: ofScope("organization"), platform: ofScope("platform") };
});

const rightsOf = (role: string) => expandPatterns(BUILT_IN_ROLES[role] ?? [], "role", catalogue);

test("each built-in role holds what the next one holds, and more", () => {
  const [viewer, member, admin, owner] = ["viewer", "member", "admin", "owner"].map(rightsOf);
  assert.ok(viewer && member && admin && owner);
  assert.ok(viewer.size > 0 && viewer.size < member.size && member.size < admin.size);
  assert.ok(viewer.isSubsetOf(member) && member.isSubsetOf(admin) && admin.isSubsetOf(owner));
});

test("a viewer and a member change nothing of Latchkey's own", () => {
  for (const role of ["viewer", "member"]) {
    const own = [...rightsOf(role)].filter((name) => name.startsWith("auth.") && !name.endsWith(".read"));
    assert.deepEqual(own, [], role);
  }
});

test("an owner holds every permission of the organization and none of the platform", () => {
  assert.deepEqual([...rightsOf("owner")].sort(), [...catalogue.organization].sort());
});

test("the catalogue's platform permissions, and they alone, say so in their names", () => {
  assert.ok(catalogue.platform.length > 0);
  assert.ok(catalogue.platform.every((name) => name.startsWith("platform.")));
  assert.ok(!catalogue.organization.some((name) => name.startsWith("platform.")));
});
