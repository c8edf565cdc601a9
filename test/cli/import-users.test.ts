import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it, type TestContext } from "node:test";
import { addOrganization } from "../access/cast.ts";
import { OLD_HASH, OLD_PASSWORD, someone } from "../imported-users/people.ts";
import { cleanup, temporaryFolder } from "../support/process.ts";
import { refusedWith } from "../support/refusal.ts";
import { OrganizationService, startService, type TestService } from "../support/service.ts";
import { field, linesOf, operatorOf } from "./operator.ts";

describe("latchkey import users, and the end of an organization", { concurrency: 2 }, () => {
  let service: TestService;
  before(async () => {
    service = await startService();
  });
  after(() => service.stop());

  function fileOf(t: TestContext, name: string, content: string): string {
    const path = join(temporaryFolder(cleanup(t)), name);
    writeFileSync(path, content);
    return path;
  }

  it("imports people from CSV, tells which rows are wrong, and the rest when they are mended", async (t) => {
    const operator = operatorOf(t, service);
    const elsewhere = await addOrganization(service.core);
    const header = "email,display_name,organizationId,role,passwordHash";
    const good = [
      `one@csv.test,"One, the first",,,${OLD_HASH}`,
      `two@csv.test,,${elsewhere},member,${OLD_HASH}`,
    ];
    const bad = ["three@csv.test,,,boss,hunter2", "four@csv.test"];
    const args = ["--into", service.organizationId, "--role", "viewer"];
    const report = join(temporaryFolder(cleanup(t)), "report.jsonl");
    const spoilt = fileOf(t, "people.csv", [header, ...good, ...bad].join("\n"));
    const refused = operator.start(["import", "users", spoilt, ...args, "--report", report]);
    assert.deepEqual(await refused.ended(), { code: 1, signal: null }, refused.stderr);
    assert.match(refused.stderr, /^latchkey: line 4 \(three@csv\.test\): PASSWORD_HASH_INVALID/m);
    assert.match(refused.stderr, /^latchkey: nothing was imported$/m);
    assert.ok(!`${refused.stdout}${refused.stderr}`.includes("hunter2"));
    assert.deepEqual(
      linesOf(readFileSync(report, "utf8")).map((line) => [JSON.parse(line).line, JSON.parse(line).reason]),
      [
        [4, "PASSWORD_HASH_INVALID"],
        [5, "REQUEST_INVALID"],
      ],
    );
    await refusedWith("LOGIN_FAILED", service.logIn("one@csv.test", OLD_PASSWORD));

    const mended = fileOf(t, "people.csv", [header, ...good].join("\n"));
    assert.equal(field(await operator.does(["import", "users", mended, ...args]), "imported"), "2");
    assert.equal(field(await operator.does(["import", "users", mended, ...args]), "unchanged"), "2");
    await service.logIn("one@csv.test", OLD_PASSWORD);
    await service.logIn("two@csv.test", OLD_PASSWORD);
  });

  it("imports people from JSON lines", async (t) => {
    const user = someone(service);
    const path = fileOf(t, "people.jsonl", `${JSON.stringify(user)}\n`);
    const [row] = linesOf(await operatorOf(t, service).does(["import", "users", path, "--json"]));
    assert.equal(JSON.parse(row ?? "").name, user.email);
    await service.logIn(user.email, OLD_PASSWORD);
  });

  it("renames an organization, and deletes it by its id and its name", async (t) => {
    const operator = operatorOf(t, service);
    const id = await addOrganization(service.core, "Before");
    assert.equal(field(await operator.does(["org", "rename", id, "After"]), "name"), "After");
    assert.match(
      await operator.fails(["org", "delete", id, "--name", "Before"]),
      /ORGANIZATION_NAME_MISMATCH/,
    );
    await operator.mistypes(["org", "delete", id]);
    assert.equal(field(await operator.does(["org", "delete", id, "--name", "After"]), "state"), "deleted");
    const organizations = service.client(OrganizationService, { "x-internal-key": service.internalKey });
    await refusedWith("NOT_FOUND", organizations.getOrganization({ id }));
  });
});
