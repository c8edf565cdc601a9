import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { hash as argon2Hash } from "@node-rs/argon2";
import { v4 as uuidv4 } from "uuid";
import type { Core } from "../../src/app.ts";
import { RoleService } from "../../src/gen/latchkey/v1/role_pb.ts";
import { hmac, ImportMode, KeyHashAlgorithm, keyOf, OLD_FORMAT, oldKey } from "../imported-keys/import.ts";
import { query } from "../support/cluster.ts";
import { reasonOf } from "../support/refusal.ts";
import {
  ApiKeyService,
  AuthenticationService,
  OrganizationService,
  ServiceKeyService,
  startService,
  type TestService,
  TokenService,
  UserService,
} from "../support/service.ts";

export interface Secret {
  readonly name: string;
  readonly bytes: Buffer;
}

/** A deployment that has lived a life in which everything went wrong once. */
export interface TroubledLife {
  readonly service: TestService;
  /** A replica of it whose statements failed, with secrets in the words of the errors. */
  readonly broken: TestService;
  /** Whatever must not be found anywhere. */
  readonly secrets: readonly Secret[];
  /** What was answered, besides the answers that were to carry a secret. */
  readonly answers: readonly string[];
}

export async function liveThroughTrouble(): Promise<TroubledLife> {
  let fault: Error | undefined;
  const service = await startService();
  const broken = await startService({ beside: service, wrapCore: (core) => failing(core, () => fault) });
  const secrets: Secret[] = [];
  const answers: string[] = [];

  function keep(name: string, secret: string): string {
    secrets.push({ name, bytes: Buffer.from(secret) });
    return secret;
  }
  /** A key is given away by its whole text, and by its secret part alone. */
  function keepKey(name: string, text: string): string {
    keep(`${name}'s secret part`, text.slice(-49, -6));
    return keep(name, text);
  }
  function keepToken(name: string, text: string): string {
    keep(`${name}'s signature`, text.slice(text.lastIndexOf(".") + 1));
    return keep(name, text);
  }
  function noteAnswer(answer: unknown): void {
    answers.push(JSON.stringify(answer, (_, value) => (typeof value === "bigint" ? String(value) : value)));
  }
  async function note(call: Promise<unknown>): Promise<void> {
    noteAnswer(await call.catch((error: Error) => ({ error: String(error), ...error })));
  }
  /** The secret that an answer is to carry: once. */
  function handedOut(name: string, { secret, ...rest }: { readonly secret: string }): string {
    noteAnswer(rest);
    return keepKey(name, secret);
  }
  async function post(path: string, body: string, headers: Record<string, string> = {}): Promise<void> {
    const response = await fetch(`${service.url}${path}`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body,
    });
    // Whoever sent it may read it again. The log is what counts here.
    await response.text();
  }

  const { admin } = service;
  keep("the administrator's password", admin.password);
  keepKey("the first API key", service.apiKey);
  keepKey("the first internal key", service.internalKey);
  const token = keepToken("the administrator's token", await service.logIn());
  const asAdmin = { authorization: `Bearer ${token}` };
  const keys = service.client(ApiKeyService, asAdmin);
  const users = service.client(UserService, asAdmin);
  const tokens = service.client(TokenService);
  const authentication = service.client(AuthenticationService);

  // What goes well.
  const made = await keys.createApiKey({ name: "key", permissions: ["calls.*"], environment: "test" });
  const apiKey = handedOut("an API key", made);
  const doomed = await keys.createApiKey({ name: "doomed", permissions: ["calls.*"] });
  handedOut("an API key that is revoked", doomed);
  await note(keys.revokeApiKey({ id: doomed.apiKey?.id ?? "", reason: "leaked" }));
  const internal = await service.client(ServiceKeyService, asAdmin).createServiceKey({ name: "edge" });
  const internalKey = handedOut("an internal key", internal);
  const email = `${uuidv4()}@people.test`;
  const first = keep("a first password", `first password ${uuidv4()}`);
  const invited = await users.createUser({ email, displayName: "Ann", role: "member" });
  const invitation = keep("an invitation", invited.invitation);
  await note(users.acceptMembership({ email, invitation, password: first }));
  const ended = keepToken("a token that was ended", await service.logIn(email, first));
  await note(tokens.revokeToken({ target: { case: "token", value: ended } }));
  const second = keep("a changed password", `second password ${uuidv4()}`);
  await note(users.changePassword({ email, currentPassword: first, newPassword: second }));
  keepToken("a token of the new password", await service.logIn(email, second));

  // Secrets that take the place of others, and creates that are sent again.
  const overlap = { seconds: 3600n };
  const idOf = (key: { readonly id: string } | undefined) => key?.id ?? assert.fail("it was made");
  const serviceKeys = service.client(ServiceKeyService, asAdmin);
  const [apiKeyId, internalKeyId] = [idOf(made.apiKey), idOf(internal.serviceKey)];
  handedOut("a secret that was taken back", await keys.rotateApiKey({ id: apiKeyId, overlap }));
  await note(keys.cancelRotation({ id: apiKeyId }));
  const rotated = await keys.createApiKey({ name: "rotated", permissions: ["calls.*"] });
  const ending = handedOut("a secret that was replaced", rotated);
  const rotatedId = idOf(rotated.apiKey);
  const newer = handedOut("the secret after it", await keys.rotateApiKey({ id: rotatedId, overlap }));
  await note(keys.finishRotation({ id: rotatedId }));
  handedOut(
    "an internal key's secret that was taken back",
    await serviceKeys.rotateServiceKey({ id: internalKeyId, overlap }),
  );
  await note(serviceKeys.cancelServiceKeyRotation({ id: internalKeyId }));
  handedOut(
    "a second secret of an internal key",
    await serviceKeys.rotateServiceKey({ id: internalKeyId, overlap }),
  );
  const idempotencyKey = uuidv4();
  const once = { name: `once ${uuidv4()}`, permissions: ["calls.*"], idempotencyKey };
  const repeated = handedOut("a key that is made once", await keys.createApiKey(once));
  assert.equal((await keys.createApiKey(once)).secret, repeated);
  await note(keys.createApiKey({ ...once, name: "another" }));
  const onceInternal = { name: `once-${uuidv4()}`, idempotencyKey };
  handedOut("an internal key that is made once", await serviceKeys.createServiceKey(onceInternal));
  const onceEmail = `${uuidv4()}@people.test`;
  const oncePassword = keep("a password that is sent twice", `sent twice ${uuidv4()}`);
  const onceUser = { email: onceEmail, role: "member", password: oncePassword, idempotencyKey };
  const told = await users.createUser(onceUser);
  assert.equal(
    (await users.createUser(onceUser)).invitation,
    keep("an invitation told twice", told.invitation),
  );
  const reset = await users.resetPassword({ id: idOf(told.user) });
  await note(service.logIn(onceEmail, keep("a one-time password", reset.oneTimePassword)));
  await note(users.createUser({ ...onceUser, password: `${oncePassword} too` }));

  // What another system made.
  const hmacSecret = randomBytes(32);
  secrets.push({ name: "the secret of an HMAC", bytes: hmacSecret });
  const old = {
    used: keep("a used key of another system", oldKey()),
    unused: keep("an unused one", oldKey()),
  };
  for (const text of Object.values(old)) {
    secrets.push({ name: "a foreign HMAC", bytes: hmac(hmacSecret, text) });
  }
  const imported = {
    organizationId: service.organizationId,
    ownerId: admin.id,
    format: OLD_FORMAT,
    hashing: { algorithm: KeyHashAlgorithm.HMAC_SHA256, hmacSecret },
    mode: ImportMode.BEST_EFFORT,
    keys: Object.values(old).map((text) => keyOf(text, { hash: hmac(hmacSecret, text) })),
  };
  await note(keys.importApiKeys(imported));
  await note(keys.importApiKeys(imported));
  await note(keys.importApiKeys({ ...imported, organizationId: uuidv4() }));
  await note(keys.importApiKeys({ ...imported, keys: [keyOf(old.unused, { hash: hmacSecret, name: "" })] }));
  await note(
    keys.importApiKeys({ ...imported, keys: [keyOf(old.unused, { hash: Buffer.from(old.unused) })] }),
  );
  await note(
    keys.importApiKeys({ ...imported, hashing: { algorithm: KeyHashAlgorithm.SHA256, hmacSecret } }),
  );
  await note(authentication.authenticate({ headers: [{ name: "X-API-Key", value: old.used }] }));

  // Explained, and given up by whoever holds them.
  const explaining = service.client(AuthenticationService, asAdmin);
  const lost = await keys.createApiKey({ name: "lost", permissions: ["calls.*"] });
  const lostKey = handedOut("an API key that its holder revokes", lost);
  for (const text of [
    apiKey,
    doomed.secret,
    ending,
    newer,
    old.used,
    old.unused,
    token,
    internalKey,
    lostKey,
  ]) {
    for (const [name, value] of [
      ["X-API-Key", text],
      ["Authorization", `Bearer ${text}`],
      ["X-Internal-Key", text],
      [text.slice(0, 60), "x"],
    ] as const) {
      await note(explaining.explain({ request: { headers: [{ name, value }] } }));
    }
    for (const wrong of [`${text}x`, text.slice(0, -1), `${text} `, text.toUpperCase()]) {
      await note(keys.revokeOwnApiKey({ apiKey: wrong, reason: "found" }));
    }
  }
  await note(keys.revokeOwnApiKey({ apiKey: lostKey, reason: "lost" }));
  await note(keys.revokeOwnApiKey({ apiKey: lostKey, reason: "a\nb" }));
  await note(keys.updateApiKey({ id: apiKeyId, name: "renamed" }));
  await note(serviceKeys.updateServiceKey({ id: internalKeyId, permissions: { values: ["calls.*"] } }));
  await note(keys.getApiKeyUsage({ id: apiKeyId }));
  await note(serviceKeys.getServiceKeyUsage({ id: internalKeyId }));
  await note(serviceKeys.getServiceKey({ id: internalKeyId }));

  await note(keys.listApiKeys({}));
  await note(keys.getApiKey({ id: apiKeyId }));
  await note(service.client(ServiceKeyService, asAdmin).listServiceKeys({}));
  await note(users.listUsers({}));
  await note(service.client(OrganizationService, asAdmin).listOrganizations({}));
  for (const [name, value] of [
    ["X-API-Key", apiKey],
    ["X-API-Key", doomed.secret],
    ["X-Internal-Key", internalKey],
    ["Authorization", `Bearer ${token}`],
    ["Authorization", `Bearer ${ended}`],
  ] as const) {
    await note(authentication.authenticate({ headers: [{ name, value }] }));
  }

  // What people do wrong.
  const wrong = keep("a wrong password", `wrong password ${uuidv4()}`);
  const short = keep("a password that is too short", `sh0rt-${Date.now() % 1e6}`);
  await note(service.logIn(admin.email, wrong));
  await note(service.logIn(`${uuidv4()}@people.test`, wrong));
  await note(users.changePassword({ email, currentPassword: wrong, newPassword: wrong }));
  await note(users.createUser({ email: admin.email, role: "viewer", password: wrong }));
  await note(users.createUser({ email: `x${email}`, role: "viewer", password: short }));
  await note(users.createUser({ email: `x${email}`, role: "nothing", password: wrong }));

  // Credentials where they do not belong.
  const stray = keepToken("a token that goes astray", await service.logIn());
  for (const text of [apiKey, internalKey, stray, wrong]) {
    for (const name of ["X-API-Key", "X-Internal-Key", "Authorization", "X-Org-Id", "X_Api_Key", "Cookie"]) {
      for (const value of [text, `Bearer ${text}`, `${text}, ${text}`, `${text}\u00e9`]) {
        await note(authentication.authenticate({ headers: [{ name, value }] }));
      }
    }
    await note(authentication.authenticate({ headers: [{ name: text, value: "" }] }));
    await note(authentication.authenticate({ organizationId: text, clientAddress: text, audience: text }));
    await note(authentication.authenticate({ requiredPermissions: [text.slice(0, 100)] }));
    await note(tokens.revokeToken({ target: { case: "token", value: text } }));
    await note(keys.listApiKeys({ pageToken: text }));
    await note(keys.getApiKey({ id: text }));
    await note(keys.listApiKeys({ nameContains: text.slice(0, 100), environment: text, ownerId: text }));
    await note(keys.createApiKey({ name: "x", permissions: ["x"], idempotencyKey: text.slice(0, 129) }));
    // Whoever sent what is no permission may read it again.
    await reasonOf(keys.createApiKey({ name: "x", permissions: [text] }));
    await note(keys.rotateApiKey({ id: text, overlap }));
    await note(
      service.client(RoleService, asAdmin).createRole({ name: text, permissions: { values: [text] } }),
    );
    await note(
      keys.importApiKeys({ ...imported, keys: [keyOf(old.unused, { name: text, environment: text })] }),
    );
    await note(
      keys.importApiKeys({
        ...imported,
        hashing: { algorithm: KeyHashAlgorithm.BCRYPT },
        keys: [keyOf(old.unused, { hash: Buffer.from(text), lookupPrefix: text })],
      }),
    );
    for (const body of [
      `{"${text}":1}`,
      `{"password":{"email":"a","password":${text}}}`,
      text,
      `{"id":"${text}`,
    ]) {
      await post("/latchkey.v1.TokenService/IssueToken", body);
      await post(`/latchkey.v1.${encodeURIComponent(text)}/IssueToken?key=${encodeURIComponent(text)}`, body);
      await post("/latchkey.v1.ApiKeyService/GetApiKey", body, { "x-internal-key": internalKey });
      await post("/latchkey.v1.ApiKeyService/ImportApiKeys", body, { "x-internal-key": internalKey });
      await post("/latchkey.v1.ApiKeyService/RevokeOwnApiKey", body);
    }
    await fetch(`${service.url}/readyz?api_key=${encodeURIComponent(text)}`);
    const compressed = { "content-encoding": "gzip", "x-api-key": text };
    await post("/latchkey.v1.TokenService/IssueToken", text, compressed);
  }

  // What goes wrong inside, with the secret in the words of the error.
  const phc = keep("a password's hash", await argon2Hash(wrong));
  keep("the database's password", "canary-of-the-database");
  const wordings = [
    `near "${apiKey}" and ${internalKey}: ${token}`,
    `${phc} is no hash`,
    `postgres://latchkey:canary-of-the-database@db.internal:5432/latchkey is away`,
  ];
  for (const words of wordings) {
    for (const error of [new Error(words), new Error("outer", { cause: new Error(words) })]) {
      fault = error;
      await note(broken.logIn(email, second));
      await note(
        broken
          .client(AuthenticationService)
          .authenticate({ headers: [{ name: "X-API-Key", value: apiKey }] }),
      );
      await note(broken.client(ApiKeyService, asAdmin).listApiKeys({}));
      await note(broken.client(ApiKeyService, asAdmin).importApiKeys(imported));
      await note(broken.client(ApiKeyService).revokeOwnApiKey({ apiKey }));
      await note(
        broken
          .client(AuthenticationService, asAdmin)
          .explain({ request: { headers: [{ name: "X-API-Key", value: apiKey }] } }),
      );
    }
  }
  fault = undefined;

  // And with the statement in the words of the database.
  const breakages = [
    [
      "alter table api_key_slots add constraint broken check (lookup_id = '')",
      "alter table api_key_slots drop constraint broken",
    ],
    [
      "alter table users add constraint broken check (email = '') not valid",
      "alter table users drop constraint broken",
    ],
    [
      "alter table service_key_slots rename column digest to gone",
      "alter table service_key_slots rename column gone to digest",
    ],
    ["alter table sessions rename to gone", "alter table gone rename to sessions"],
    ["alter table peppers rename to gone", "alter table gone rename to peppers"],
    [
      "alter table idempotency_keys add constraint broken check (sealed_answer = '') not valid",
      "alter table idempotency_keys drop constraint broken",
    ],
    [
      "alter table imported_key_hashes add constraint broken check (fingerprint = '') not valid",
      "alter table imported_key_hashes drop constraint broken",
    ],
    [
      "alter table imported_key_formats rename column sealed_hmac_secret to gone",
      "alter table imported_key_formats rename column gone to sealed_hmac_secret",
    ],
    [
      "alter table audit_events add constraint broken check (action = '') not valid",
      "alter table audit_events drop constraint broken",
    ],
  ] as const;
  for (const [breakIt, mendIt] of breakages) {
    await query(
      service.connection,
      breakIt.replace("check (lookup_id = '')", "check (lookup_id = '') not valid"),
    );
    const failed = [
      keys.createApiKey({ name: "failing", permissions: ["calls.*"] }),
      service.client(ServiceKeyService, asAdmin).createServiceKey({ name: uuidv4() }),
      users.createUser({ email: `${uuidv4()}@people.test`, role: "viewer", password: second }),
      service.logIn(email, second),
      users.changePassword({ email, currentPassword: second, newPassword: second }),
      authentication.authenticate({ headers: [{ name: "X-API-Key", value: apiKey }] }),
      authentication.authenticate({ headers: [{ name: "Authorization", value: `Bearer ${token}` }] }),
      tokens.revokeToken({ target: { case: "token", value: stray } }),
      keys.createApiKey({ name: "failing", permissions: ["calls.*"], idempotencyKey: uuidv4() }),
      users.createUser({ ...onceUser, email: `${uuidv4()}@people.test`, idempotencyKey: uuidv4() }),
      keys.rotateApiKey({ id: rotatedId, overlap }),
      keys.importApiKeys({ ...imported, keys: [keyOf(oldKey())] }),
      keys.revokeOwnApiKey({ apiKey }),
      authentication.authenticate({ headers: [{ name: "X-API-Key", value: old.unused }] }),
    ];
    const outcomes = await Promise.all(failed.map((call) => reasonOf(call)));
    assert.ok(outcomes.includes("INTERNAL") || outcomes.includes("UNAVAILABLE"), `${breakIt}: ${outcomes}`);
    await query(service.connection, mendIt);
  }
  return { service, broken, secrets, answers };
}

/** Fails at every statement, for as long as there is a fault to fail with. */
function failing(core: Core, fault: () => Error | undefined): Core {
  const { storage } = core;
  const wrap = <Part extends (...given: never[]) => unknown>(part: Part): Part =>
    ((...given) => {
      const error = fault();
      if (error !== undefined) {
        throw error;
      }
      return part(...given);
    }) as Part;
  return { ...core, storage: { ...storage, verify: wrap(storage.verify), fork: wrap(storage.fork) } };
}
