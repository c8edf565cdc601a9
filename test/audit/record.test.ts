import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import { AuditActorType, AuditService } from "../../src/gen/latchkey/v1/audit_pb.ts";
import { addOrganization, addUser, makePassword, type Password } from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { refusedWith } from "../support/refusal.ts";
import { ApiKeyService, OrganizationService, startService, type TestService, UserService } from "../support/service.ts";

let service: TestService;
let admin: Record<string, string>;
let password: Password;
before(async () => {
  service = await startService();
  admin = { authorization: `Bearer ${await service.logIn()}` };
  password = await makePassword(service.core);
});
after(() => service.stop());

const audit = (headers = admin) => service.client(AuditService, headers);

test("smoke", async () => {
  const email = `${uuidv4()}@people.test`;
  const { user } = await service.client(UserService, { ...admin, "x-request-id": "req-1" }).createUser({
    email, displayName: "Ann", role: "viewer", password: password.text,
  });
  const { events } = await audit().listAuditEvents({});
  console.log(JSON.stringify(events, (_, v) => typeof v === "bigint" ? String(v) : v, 1));
  const v = await audit().verifyAuditLog({});
  console.log(v);
  const v2 = await audit().verifyAuditLog({pageToken: v.nextPageToken});
  console.log(v2);
});
