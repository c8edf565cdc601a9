import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { fromBinary, type MessageInitShape, toBinary, toJsonString } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Idempotency } from "@bufbuild/protobuf/wkt";
import { type Client, createClient } from "@connectrpc/connect";
import { v4 as uuidv4 } from "uuid";
import { PermissionScope } from "../../src/gen/latchkey/v1/access_pb.ts";
import {
  type AuthenticateRequestSchema,
  AuthenticateResultSchema,
} from "../../src/gen/latchkey/v1/authentication_pb.ts";
import { RoleService } from "../../src/gen/latchkey/v1/role_pb.ts";
import { SigningKeyService } from "../../src/gen/latchkey/v1/signing_key_pb.ts";
import { SERVICES } from "../../src/server/routes.ts";
import {
  addApiKey,
  addOrganization,
  addRole,
  addRotation,
  addServiceKey,
  addUser,
  makePassword,
  type Password,
} from "../access/cast.ts";
import { delegate, tokenOf } from "../credentials/token-grants.ts";
import { importKey, importKeys, keyOf, oldKey, present, untilRehashed } from "../imported-keys/import.ts";
import { importUsers, someone } from "../imported-users/people.ts";
import { query } from "../support/cluster.ts";
import { forgetAll } from "../support/replicas.ts";
import {
  ApiKeyService,
  AuthenticationService,
  OrganizationService,
  ServiceKeyService,
  startService,
  type TestService,
  TokenService,
  transportTo,
  UserService,
} from "../support/service.ts";
import { until } from "../support/until.ts";

// Whatever is changed: what is remembered of each credential is then what the database says of it.

type Entry = MessageInitShape<typeof AuthenticateRequestSchema>;
/** By the names of the cast, in binary. */
type Answers = Readonly<Record<string, Uint8Array>>;
type Verifier = Client<typeof AuthenticationService>;

/** One change, and whether the cast's answers are others after it. */
interface Change {
  readonly method: string;
  readonly what: string;
  readonly matters: boolean;
  readonly call: () => Promise<{ readonly revision: string }>;
}

/** Makes the changes, and answers from memory. */
let here: TestService;
/** Answers from memory. */
let there: TestService;
/** Asks the database each time. */
let truth: TestService;
let verifiers: Record<"here" | "there" | "truth", Verifier>;
/** Reads of the verify path on the one that makes the changes. */
let reads = 0;
let password: Password;
/** Every credential, with all that it may be asked about. */
const cast: Record<string, Entry> = {};

before(async () => {
  here = await startService({
    wrapCore: (core) => ({
      ...core,
      storage: {
        ...core.storage,
        verify: (name, text, values) => {
          reads += 1;
          return core.storage.verify(name, text, values);
        },
      },
    }),
  });
  [there, truth] = [
    await startService({ beside: here }),
    await startService({ beside: here, memoryBytes: 0 }),
  ];
  // Not the service's own client: that waits until everything is heard of.
  const verifierOf = ({ url }: TestService) =>
    createClient(AuthenticationService, transportTo(url, "connect proto", "1.1"));
  verifiers = { here: verifierOf(here), there: verifierOf(there), truth: verifierOf(truth) };
  password = await makePassword(here.core);
});
after(async () => {
  await Promise.all([truth?.stop(), there?.stop()]);
  await here?.stop();
});

/** What is answered about each credential, but for the revision. */
async function answersOf(verifier: Verifier, minRevision = ""): Promise<Answers> {
  const requests = Object.values(cast).map((entry) => ({ ...entry, minRevision }));
  const { results } = await verifier.batchAuthenticate({ requests });
  assert.equal(results.length, requests.length);
  return Object.fromEntries(
    results.map((result, at) => {
      if (result.outcome.case === "response") {
        result.outcome.value.revision = "";
      }
      return [Object.keys(cast)[at], toBinary(AuthenticateResultSchema, result)];
    }),
  );
}

const asKey = (value: string): Entry => ({ headers: [{ name: "X-API-Key", value }] });
const asToken = (token: string): Entry => ({
  headers: [{ name: "Authorization", value: `Bearer ${token}` }],
});
const asService = (value: string, organizationId = ""): Entry => ({
  headers: [{ name: "X-Internal-Key", value }],
  organizationId,
});

interface Person {
  readonly id: string;
  readonly email: string;
  readonly keyId: string;
  readonly token: string;
}

/** Somebody with one of each credential that stands on them. */
async function person(name: string, role: string, organizationId = here.organizationId): Promise<Person> {
  const { id, email } = await addUser(here.core, { organizationId, role, password, displayName: name });
  const key = await addApiKey(here.core, {
    organizationId,
    owner: { userId: id },
    permissions: ["calls.*"],
  });
  const token = await here.logIn(email, password.text);
  const caller = { "x-internal-key": here.internalKey, "x-org-id": organizationId };
  cast[`${name}: key`] = asKey(key.text);
  cast[`${name}: login`] = asToken(token);
  cast[`${name}: token of the key`] = asToken(await tokenOf(here, key.text));
  const delegated = await delegate(here, caller, { userId: id }, { organizationId });
  cast[`${name}: token of a service on their behalf`] = asToken(delegated.accessToken);
  return { id, email, keyId: key.id, token };
}

interface InternalKey {
  readonly id: string;
  readonly text: string;
}

/** An internal key with what stands on it. */
async function internalKey(name: string): Promise<InternalKey> {
  const key = await addServiceKey(here.core, { permissions: ["*"] });
  const owned = await addApiKey(here.core, {
    organizationId: here.organizationId,
    owner: { serviceKeyId: key.id },
    permissions: ["calls.*"],
  });
  cast[`${name}: for all`] = asService(key.text);
  cast[`${name}: its API key`] = asKey(owned.text);
  cast[`${name}: its token`] = asToken(await tokenOfService(key));
  return key;
}

/** The same for several organizations. */
async function wideKey(name: string, other: string): Promise<InternalKey> {
  const { organizationId } = here;
  const key = await internalKey(name);
  cast[`${name}: for one`] = asService(key.text, organizationId);
  cast[`${name}: for another`] = asService(key.text, other);
  cast[`${name}: its token, for another`] = { ...cast[`${name}: its token`], organizationId: other };
  cast[`${name}: token for one`] = asToken(await tokenOfService(key, { organizationId }));
  cast[`${name}: token for another`] = asToken(await tokenOfService(key, { organizationId: other }));
  cast[`${name}: token for little`] = asToken(await tokenOfService(key, {}, ["calls.read"]));
  return key;
}

const tokenOfService = async (
  { text }: InternalKey,
  more: { readonly organizationId?: string } = {},
  permissions: string[] = [],
) => (await delegate(here, { "x-internal-key": text }, { permissions }, more)).accessToken;

/** Makes the cast, and tells what then becomes of it, one after the other. */
async function changes(): Promise<readonly Change[]> {
  const { core, organizationId } = here;
  const otherName = `org ${uuidv4()}`;
  const other = await addOrganization(core, otherName);
  const roleId = await addRole(core, { organizationId, name: "agent", permissions: ["calls.*"] });
  const unused = await addRole(core, { organizationId, name: "unused", permissions: [] });
  const [ann, bob, cid, dee, eve, fay] = [
    await person("Ann", "agent"),
    await person("Bob", "member"),
    await person("Cid", "member"),
    await person("Dee", "member"),
    await person("Eve", "member", other),
    await person("Fay", "member"),
  ];
  await addUser(core, { organizationId: other, role: "viewer", password, email: dee.email });
  const [first, second, third] = [
    await wideKey("first", other),
    await internalKey("second"),
    await internalKey("third"),
  ];
  const owner = { userId: here.admin.id };
  const apiKey = async (name: string, permissions = ["calls.*"]) => {
    const key = await addApiKey(core, { organizationId, owner, permissions });
    cast[name] = asKey(key.text);
    cast[`${name}: its token`] = asToken(await tokenOf(here, key.text));
    return key;
  };
  const changed = await apiKey("key");
  const rotated = await apiKey("rotated key");
  const cancelled = await apiKey("cancelled key");
  const given = await apiKey("given up key");
  const second2 = await addRotation(core, "api_key", cancelled.id, organizationId);
  cast["cancelled key: new secret"] = asKey(second2);
  cast["cancelled key: token of the new secret"] = asToken(await tokenOf(here, second2));
  cast["third: new secret"] = asService(await addRotation(core, "service_key", third.id));
  for (const [name, maker] of Object.entries({ "Cid's key": cid.keyId, "the key": changed.id })) {
    const { id, text } = await addServiceKey(core, { permissions: ["calls.*"] });
    await query(
      here.connection,
      "update service_keys set creator_id = $1, maker_ids = array[$1::uuid] where id = $2",
      [maker, id],
    );
    cast[`internal key that ${name} has made`] = asService(text);
  }
  const imported = oldKey();
  const importedId = await importKey(here, keyOf(imported));
  await present(here, imported);
  await untilRehashed(here, importedId);
  cast["imported key"] = asKey(imported);
  cast["imported key: its token"] = asToken(await tokenOf(here, imported));
  const toCome = oldKey();
  cast["key that is yet to be imported"] = asKey(toCome);

  const admin = { "x-internal-key": here.internalKey, "x-org-id": organizationId };
  const platform = { "x-internal-key": here.internalKey };
  const clientOf = here.client;
  const apiKeys = clientOf(ApiKeyService, admin);
  const organizations = clientOf(OrganizationService, platform);
  const roles = clientOf(RoleService, admin);
  const serviceKeys = clientOf(ServiceKeyService, platform);
  const signingKeys = clientOf(SigningKeyService, platform);
  const tokens = clientOf(TokenService, admin);
  const users = clientOf(UserService, admin);
  const nobody = { apiKeys: clientOf(ApiKeyService), users: clientOf(UserService) };
  const overlap = { seconds: 600n };
  const values = (...list: string[]) => ({ values: list });
  const invitations = new Map<string, string>();

  const matters = (method: string, what: string, call: Change["call"]): Change => ({
    method,
    what,
    matters: true,
    call,
  });
  const isNone = (method: string, what: string, call: Change["call"]): Change => ({
    method,
    what,
    matters: false,
    call,
  });
  return [
    isNone("RoleService.CreateRole", "a role", () => roles.createRole({ name: "more" })),
    isNone("RoleService.DeleteRole", "a role that nobody has", () => roles.deleteRole({ id: unused })),
    matters("RoleService.UpdateRole", "its name", () => roles.updateRole({ id: roleId, name: "caller" })),
    matters("RoleService.UpdateRole", "less", () =>
      roles.updateRole({ id: roleId, permissions: values("calls.read") }),
    ),
    matters("RoleService.UpdateRole", "more again", () =>
      roles.updateRole({ id: roleId, permissions: values("calls.*", "auth.authenticate") }),
    ),
    matters("RoleService.DefinePermission", "one that patterns reach", () =>
      roles.definePermission({ name: "calls.mute", scope: PermissionScope.ORGANIZATION, description: "" }),
    ),
    matters("ApiKeyService.UpdateApiKey", "its name", () =>
      apiKeys.updateApiKey({ id: changed.id, name: "renamed" }),
    ),
    matters("ApiKeyService.UpdateApiKey", "its permissions", () =>
      apiKeys.updateApiKey({ id: changed.id, permissions: values("calls.read") }),
    ),
    matters("ApiKeyService.UpdateApiKey", "its end", () =>
      apiKeys.updateApiKey({
        id: changed.id,
        expiry: { case: "expireTime", value: { seconds: BigInt(Math.floor(Date.now() / 1000)) + 3000n } },
      }),
    ),
    matters("ApiKeyService.UpdateApiKey", "its addresses", () =>
      apiKeys.updateApiKey({ id: changed.id, allowedCidrs: values("192.0.2.0/24") }),
    ),
    matters("ApiKeyService.RotateApiKey", "the old secret ends later", () =>
      apiKeys.rotateApiKey({ id: rotated.id, overlap }),
    ),
    matters("ApiKeyService.FinishRotation", "the old secret ends now", () =>
      apiKeys.finishRotation({ id: rotated.id }),
    ),
    matters("ApiKeyService.CancelRotation", "the new secret is gone", () =>
      apiKeys.cancelRotation({ id: cancelled.id }),
    ),
    matters("ApiKeyService.RotateApiKey", "of an imported key", () =>
      apiKeys.rotateApiKey({ id: importedId, overlap }),
    ),
    matters("ApiKeyService.RevokeOwnApiKey", "by whoever holds it, who is told no revision", async () => {
      await nobody.apiKeys.revokeOwnApiKey({ apiKey: given.text, reason: "found" });
      return await apiKeys.updateApiKey({ id: changed.id, name: "renamed again" });
    }),
    matters("ApiKeyService.RevokeApiKey", "for good", () => apiKeys.revokeApiKey({ id: changed.id })),
    isNone("ApiKeyService.CreateApiKey", "another", () =>
      apiKeys.createApiKey({ name: "another", permissions: ["calls.read"] }),
    ),
    matters("ApiKeyService.ImportApiKeys", "one that was asked about before", () =>
      importKeys(here, [keyOf(toCome)]),
    ),
    matters("UserService.UpdateUser", "their name", () =>
      users.updateUser({ id: bob.id, displayName: "Robert" }),
    ),
    matters("UserService.UpdateUser", "their role", () => users.updateUser({ id: bob.id, role: "viewer" })),
    matters("UserService.UpdateUser", "disabled", () => users.updateUser({ id: bob.id, disabled: true })),
    matters("UserService.UpdateUser", "enabled", () => users.updateUser({ id: bob.id, disabled: false })),
    matters("UserService.ResetPassword", "which ends sessions", () => users.resetPassword({ id: dee.id })),
    matters("UserService.ChangePassword", "which ends sessions", () =>
      nobody.users.changePassword({
        email: cid.email,
        currentPassword: password.text,
        newPassword: `${password.text}!`,
      }),
    ),
    matters("TokenService.RevokeToken", "one", () =>
      tokens.revokeToken({ target: { case: "token", value: ann.token } }),
    ),
    matters("TokenService.RevokeToken", "all of a person", () =>
      tokens.revokeToken({ target: { case: "userId", value: fay.id } }),
    ),
    matters("UserService.RemoveMembership", "whose keys are handed over", () =>
      users.removeMembership({ id: ann.id, newOwnerId: bob.id }),
    ),
    matters("UserService.RemoveMembership", "whose keys are revoked", () =>
      users.removeMembership({ id: cid.id }),
    ),
    isNone("UserService.CreateUser", "somebody who was a member before", async () => {
      const answer = await users.createUser({ email: ann.email, role: "viewer" });
      invitations.set(ann.id, answer.invitation);
      return answer;
    }),
    matters("UserService.AcceptMembership", "by whoever was a member before", () =>
      nobody.users.acceptMembership({
        email: ann.email,
        invitation: invitations.get(ann.id) ?? "",
        password: password.text,
      }),
    ),
    isNone("UserService.ImportUsers", "somebody", () => importUsers(here, [someone(here)])),
    isNone("TokenService.IssueToken", "a login", async () => {
      await tokens.issueToken({
        grant: { case: "password", value: { email: eve.email, password: password.text } },
      });
      return { revision: "" };
    }),
    matters("UserService.DeleteUser", "of two organizations", () =>
      clientOf(UserService, platform).deleteUser({ id: dee.id }),
    ),
    isNone("ServiceKeyService.CreateServiceKey", "another", () =>
      serviceKeys.createServiceKey({ name: "another" }),
    ),
    matters("ServiceKeyService.UpdateServiceKey", "its permissions", () =>
      serviceKeys.updateServiceKey({ id: first.id, permissions: values("calls.read", "auth.authenticate") }),
    ),
    matters("ServiceKeyService.UpdateServiceKey", "its addresses", () =>
      serviceKeys.updateServiceKey({ id: first.id, allowedCidrs: values("192.0.2.0/24") }),
    ),
    matters("ServiceKeyService.RotateServiceKey", "the old secret ends later", () =>
      serviceKeys.rotateServiceKey({ id: second.id, overlap }),
    ),
    matters("ServiceKeyService.FinishServiceKeyRotation", "the old secret ends now", () =>
      serviceKeys.finishServiceKeyRotation({ id: second.id }),
    ),
    matters("ServiceKeyService.CancelServiceKeyRotation", "the new secret is gone", () =>
      serviceKeys.cancelServiceKeyRotation({ id: third.id }),
    ),
    matters("ServiceKeyService.RevokeServiceKey", "with all that stands on it", () =>
      serviceKeys.revokeServiceKey({ id: third.id }),
    ),
    isNone("OrganizationService.CreateOrganization", "another", () =>
      organizations.createOrganization({ name: `org ${uuidv4()}` }),
    ),
    matters("OrganizationService.UpdateOrganization", "its name", () =>
      organizations.updateOrganization({ id: other, name: `${otherName} (new)` }),
    ),
    matters("OrganizationService.UpdateOrganization", "suspended", () =>
      organizations.updateOrganization({ id: other, suspended: true }),
    ),
    matters("OrganizationService.UpdateOrganization", "resumed", () =>
      organizations.updateOrganization({ id: other, suspended: false }),
    ),
    matters("OrganizationService.DeleteOrganization", "for good", () =>
      organizations.deleteOrganization({ id: other, name: `${otherName} (new)` }),
    ),
    isNone("SigningKeyService.RotateSigningKey", "what is signed already ends before the key does", () =>
      signingKeys.rotateSigningKey({}),
    ),
    matters("SigningKeyService.RevokeSigningKey", "all tokens end", async () => {
      const { signingKeys: known } = await signingKeys.listSigningKeys({});
      const ids = known.map(({ id }) => id);
      let revision = "";
      for (const id of ids) {
        revision = (await signingKeys.revokeSigningKey({ id, reason: "leaked" })).revision || revision;
      }
      return { revision };
    }),
  ];
}

test("after each change, each credential is answered from memory as from the database, at once where it was made and with its revision elsewhere", async () => {
  const all = await changes();
  const declared = SERVICES.flatMap(({ name, methods }) =>
    methods
      .filter(({ idempotency }) => idempotency !== Idempotency.NO_SIDE_EFFECTS)
      .map((method) => `${name}.${method.name}`),
  );
  const verifying = ["Authenticate", "BatchAuthenticate", "WatchRevocations"].map(
    (name) => `AuthenticationService.${name}`,
  );
  assert.deepEqual(
    new Set([...all.map(({ method }) => method), ...verifying]),
    new Set(declared),
    "every method is in the table",
  );
  for (const { hearing } of [here, there]) {
    await until("changes are heard of", () => hearing.revision !== "");
  }
  // Some of the cast was made past Latchkey.
  forgetAll(here.connection.database);
  await answersOf(verifiers.here);
  const learned = reads;
  await answersOf(verifiers.here);
  assert.ok(learned > 50 && reads - learned <= 2, "all is remembered, but of the key that is none yet");

  let before = await answersOf(verifiers.truth);
  for (const { method, what, matters, call } of all) {
    const title = `${method}: ${what}`;
    assert.deepEqual(differences(await answersOf(verifiers.there), before), [], `before ${title}, elsewhere`);
    assert.deepEqual(differences(await answersOf(verifiers.here), before), [], `before ${title}`);
    const { revision } = await call();
    const own = await answersOf(verifiers.here);
    const others = await answersOf(verifiers.there, revision);
    const now = await answersOf(verifiers.truth);
    assert.deepEqual(differences(own, now), [], `${title}, where it was made`);
    assert.deepEqual(differences(others, now), [], `${title}, elsewhere`);
    assert.equal(differences(now, before).length > 0, matters, `${title}: whether it matters`);
    before = now;
  }
});

/** Of which credentials the answers are not the same, and which they are. */
function differences(some: Answers, others: Answers) {
  const told = (bytes: Uint8Array = new Uint8Array()) =>
    toJsonString(AuthenticateResultSchema, fromBinary(AuthenticateResultSchema, bytes));
  return Object.keys(cast)
    .filter((name) => !isDeepStrictEqual(some[name], others[name]))
    .map((name) => [name, told(some[name]), told(others[name])]);
}
