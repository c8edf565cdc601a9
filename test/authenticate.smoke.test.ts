import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { AuthenticationService, startService, type TestService } from "./support/service.ts";

let service: TestService;
before(async () => {
  service = await startService();
});
after(() => service.stop());

test("smoke", async () => {
  const answer = await service.client(AuthenticationService).authenticate({
    headers: [{ name: "X-API-Key", value: service.apiKey }],
  });
  assert.equal(answer.organization?.id, service.organizationId);
  await service.logIn();
});
