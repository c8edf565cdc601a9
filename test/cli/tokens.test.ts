import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { addUser } from "../access/cast.ts";
import { startService, type TestService } from "../support/service.ts";
import { operatorOf } from "./operator.ts";

describe("latchkey token issue", { concurrency: 2 }, () => {
  let service: TestService;
  before(async () => {
    service = await startService();
  });
  after(() => service.stop());

  it("gets a token with an API key, to act with", async (t) => {
    const token = await operatorOf(t, service, service.apiKey).does([
      ...["token", "issue", "--permission", "calls.read", "--lifetime", "5m"],
    ]);
    assert.match(token, /^eyJ[\w-]+\.[\w-]+\.[\w-]+\n$/);
    const { permissions, credential } = await operatorOf(t, service).asks(["authenticate", "-H", "@-"], {
      input: `Authorization: Bearer ${token.trim()}\n`,
    });
    assert.deepEqual(permissions, ["calls.read"]);
    assert.ok(new Date(credential.expireTime).getTime() - Date.now() <= 300_000);
    const beyond = ["token", "issue", "--permission", "auth.users.read"];
    assert.match(await operatorOf(t, service, service.apiKey).fails(beyond), /PERMISSION_NOT_HELD/);
  });

  it("gets a token on a user's behalf with an internal key, and with nothing else", async (t) => {
    const { organizationId } = service;
    const { id } = await addUser(service.core, {
      organizationId,
      role: "viewer",
      password: { hash: "none" },
    });
    const issue = ["token", "issue", "--delegate", id];
    const { accessToken, user } = await operatorOf(t, service).asks(issue);
    assert.equal(user.id, id);
    const shown = await operatorOf(t, service).does(["authenticate", "-H", "@-"], {
      input: `Authorization: Bearer ${accessToken}\n`,
    });
    assert.match(shown, new RegExp(`^principal +user ${id}`));
    assert.match(shown, /^service .*on their behalf$/m);
    assert.match(await operatorOf(t, service, service.apiKey).fails(issue), /internal key/);
    assert.match(await operatorOf(t, service, accessToken).fails(["token", "issue"]), /nothing else/);
  });
});
