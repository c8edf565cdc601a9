import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, describe, test } from "node:test";
import type { JsonObject } from "@bufbuild/protobuf";
import { query } from "../support/cluster.ts";
import { ApiKeyService, OrganizationService, startService, UserService } from "../support/service.ts";
import { join } from "../users/people.ts";
import { keyText, nextLetter, partsOf, replaceAt } from "./key-text.ts";
import { callHttp1, type Field, verdictOf } from "./raw-call.ts";
import { refusals } from "./refusals.ts";

const service = await startService();
after(() => service.stop());
const { assertRefused } = await refusals(service);

const admin = { authorization: `Bearer ${await service.logIn()}` };
const users = service.client(UserService, admin);
const organizations = service.client(OrganizationService, admin);
const inDatabase = (sql: string, id: string) => query(service.connection, sql, [id]);

async function newOrganization(): Promise<string> {
  const { organization } = await organizations.createOrganization({ name: randomUUID() });
  return organization?.id ?? assert.fail();
}

async function newUser(organizationId: string) {
  const login = { email: `${randomUUID()}@acme.test`, password: randomUUID() };
  return { ...login, ...(await join(service, admin, { ...login, organizationId, role: "admin" })) };
}

async function answerTo(method: string, body: JsonObject, ...fields: readonly Field[]) {
  return await callHttp1(service.port, `/latchkey.v1.${method}`, fields, JSON.stringify(body));
}

/** All that an answer says, but when. */
async function wholeAnswerTo(method: string, body: JsonObject): Promise<string> {
  const { head, body: said } = await answerTo(method, body);
  return `${head.replace(/^date: .*$/m, "")}\n${said}`;
}

const theirs = await newOrganization();
const suspended = await newOrganization();

/** People who cannot log in, whatever they know, and why. Each sends the right password. */
const SHUT_OUT = [
  {
    why: "they are disabled",
    make: async () => {
      const user = await newUser(service.organizationId);
      await users.updateUser({ id: user.id, disabled: true });
      return user;
    },
  },
  {
    why: "their only membership waits for their consent",
    make: async () => {
      const user = await newUser(service.organizationId);
      await inDatabase("update memberships set accept_time = null where user_id = $1", user.id);
      return user;
    },
  },
  {
    why: "they are a member of nothing",
    make: async () => {
      const user = await newUser(service.organizationId);
      await inDatabase("delete from memberships where user_id = $1", user.id);
      return user;
    },
  },
  {
    why: "their one-time password has ended",
    make: async () => {
      const user = await newUser(service.organizationId);
      await inDatabase("update users set password_expire_time = now() where id = $1", user.id);
      return user;
    },
  },
];

const person = await newUser(service.organizationId);
const ofSuspended = await newUser(suspended);
await organizations.updateOrganization({ id: suspended, suspended: true });
const shutOut: { name: string; email: string; password: string; organizationId?: string }[] = [];
for (const { why, make } of SHUT_OUT) {
  const user = await make();
  shutOut.push({ name: why, email: user.email, password: user.password });
  shutOut.push({ name: `${why}, and the password is wrong`, email: user.email, password: "wrong" });
}

/** Every way to fail that nobody is told about. */
const FAILURES: typeof shutOut = [
  { name: "the password is wrong", email: person.email, password: "wrong" },
  { name: "the password is nearly right", email: person.email, password: `${person.password} ` },
  { name: "the password is in another case", email: person.email, password: person.password.toUpperCase() },
  { name: "the email is unknown", email: "nobody@acme.test", password: person.password },
  { name: "the email is no email", email: "' or true --", password: person.password },
  { name: "the email is of a platform administrator", email: service.admin.email, password: "wrong" },
  {
    name: "the organization is suspended and the password wrong",
    email: ofSuspended.email,
    password: "wrong",
  },
  ...shutOut,
];

describe("a login that fails", () => {
  test("is answered to the byte like every other, whoever it is and why", async () => {
    const answers = new Set<string>();
    const rows = [
      ...FAILURES,
      { name: "the organization is another's", ...person, organizationId: theirs },
      { name: "the organization is nobody's", ...person, organizationId: randomUUID() },
    ].map((row) => ({ ...row, outcome: "LOGIN_FAILED" }));
    await assertRefused(rows, async ({ email, password, organizationId = "" }) => {
      const body = { password: { email, password }, organizationId };
      answers.add(await wholeAnswerTo("TokenService/IssueToken", body));
      return verdictOf(await answerTo("TokenService/IssueToken", body));
    });
    assert.deepEqual([...answers].length, 1, [...answers].join("\n\n"));
  });

  test("is answered to the byte like every other where a password is to be changed", async () => {
    const answers = new Set<string>();
    const rows = FAILURES.map((row) => ({ ...row, outcome: "LOGIN_FAILED" }));
    await assertRefused(rows, async ({ email, password }) => {
      const body = { email, currentPassword: password, newPassword: randomUUID() };
      answers.add(await wholeAnswerTo("UserService/ChangePassword", body));
      return verdictOf(await answerTo("UserService/ChangePassword", body));
    });
    assert.deepEqual([...answers].length, 1, [...answers].join("\n\n"));
  });

  test("says that the organization is suspended only to whoever knew the password", async () => {
    const { email, password } = ofSuspended;
    const answer = await answerTo("TokenService/IssueToken", { password: { email, password } });
    assert.equal(verdictOf(answer), "ORGANIZATION_SUSPENDED");
  });

  test("is not one where all is right, and the email is in any case", async () => {
    for (const email of [person.email, person.email.toUpperCase()]) {
      const answer = await answerTo("TokenService/IssueToken", {
        password: { email, password: person.password },
      });
      assert.equal(verdictOf(answer), "accepted");
    }
  });
});

describe("an API key that somebody wants to revoke by its text", () => {
  const apiKeys = service.client(ApiKeyService, admin);
  const newKey = async () => {
    const { apiKey, secret } = await apiKeys.createApiKey({ name: "x", permissions: ["calls.read"] });
    return { id: apiKey?.id ?? assert.fail(), text: secret };
  };
  const wrong = (text: string) => {
    const parts = partsOf(text);
    return keyText({ ...parts, secret: replaceAt(parts.secret, 0, nextLetter(parts.secret[0])) });
  };

  test("is answered to the byte like any that does not exist, unless the text is the whole of it", async () => {
    const good = await newKey();
    const revoked = await newKey();
    await apiKeys.revokeApiKey({ id: revoked.id });
    const expired = await newKey();
    await inDatabase("update api_keys set expire_time = now() where id = $1", expired.id);
    const rotated = await newKey();
    await apiKeys.rotateApiKey({ id: rotated.id, overlap: { seconds: 0n } });
    const ofOthers = await newUser(theirs);
    const others = service.client(ApiKeyService, {
      authorization: `Bearer ${await service.logIn(ofOthers.email, ofOthers.password)}`,
    });
    const { secret: foreign } = await others.createApiKey({ name: "x", permissions: ["calls.read"] });
    const parts = partsOf(good.text);
    const texts: Readonly<Record<string, string>> = {
      "of a good key, but for the secret": wrong(good.text),
      "of a revoked key, but for the secret": wrong(revoked.text),
      "of an expired key, but for the secret": wrong(expired.text),
      "of a rotated key, but for the secret": wrong(rotated.text),
      "of another organization's key, but for the secret": wrong(foreign),
      "that no key has": keyText({ ...parts, lookupId: "0".repeat(12) }),
      misspelt: replaceAt(good.text, 20, nextLetter(good.text[20])),
      "cut short": good.text.slice(0, -1),
      "with a space after it": `${good.text} `,
      "with a NUL after it": `${good.text}\0`,
      "with another prefix": keyText({ ...parts, prefix: "old" }),
      "of an internal key": service.internalKey,
      "of a token": await service.logIn(),
      "of one that another system may have": `old_${"x".repeat(36)}`,
      "of one letter": "x",
      "of an operator": "' or true --",
    };
    const answers = new Set<string>();
    const rows = Object.entries(texts).map(([name, text]) => ({ name, text, outcome: "API_KEY_INVALID" }));
    await assertRefused(rows, async ({ text }) => {
      const body = { apiKey: text, reason: "found" };
      answers.add(await wholeAnswerTo("ApiKeyService/RevokeOwnApiKey", body));
      return verdictOf(await answerTo("ApiKeyService/RevokeOwnApiKey", body));
    });
    assert.deepEqual([...answers].length, 1, [...answers].join("\n\n"));
    // And who holds it is told no more than that it is done, or done already.
    const done = new Set<string>();
    for (const { text } of [good, good, revoked, expired]) {
      done.add(await wholeAnswerTo("ApiKeyService/RevokeOwnApiKey", { apiKey: text }));
    }
    assert.deepEqual([...done].length, 1, [...done].join("\n\n"));
    const ended = await answerTo("ApiKeyService/RevokeOwnApiKey", { apiKey: rotated.text });
    assert.equal(verdictOf(ended), "API_KEY_ROTATED");
  });
});

describe("a user whose email is known elsewhere", () => {
  const newcomer = {
    email: `${randomUUID()}@acme.test`,
    displayName: "Ada",
    role: "viewer",
    password: randomUUID(),
  };
  const asOrdinary = async (): Promise<Field> => {
    const { email, password } = await newUser(service.organizationId);
    return ["authorization", `Bearer ${await service.logIn(email, password)}`];
  };

  test("is created, shown, changed and refused a second time like a new one", async () => {
    const known = await newUser(theirs);
    // Its age must not show.
    await inDatabase("update users set create_time = '2020-01-01' where id = $1", known.id);
    const credential = await asOrdinary();
    const steps = async (email: string) => {
      const say = async (method: string, body: JsonObject) => {
        const { head, body: said } = await answerTo(`UserService/${method}`, body, credential);
        return { head, said: said.toString() };
      };
      const created = await say("CreateUser", { ...newcomer, email });
      const { id } = JSON.parse(created.said).user;
      const answers = [
        created,
        await say("CreateUser", { ...newcomer, email }),
        await say("CreateUser", { ...newcomer, email: email.toUpperCase() }),
        await say("CreateUser", { ...newcomer, email, password: "short" }),
        await say("GetUser", { id }),
        await say("UpdateUser", { id, disabled: true }),
        await say("UpdateUser", { id, disabled: false }),
        await say("GetUser", { id }),
      ];
      return { id, answers: answers.map(({ head, said }) => normal(`${head}\n${said}`, email)) };
    };
    const ofNew = await steps(newcomer.email);
    const ofKnown = await steps(known.email);
    assert.deepEqual(ofKnown.answers, ofNew.answers);
    for (const { id } of [ofNew, ofKnown]) {
      assert.match(
        id,
        /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
        "its id says nothing",
      );
    }
    assert.equal(ofKnown.id, known.id);
  });

  test("keeps their password and rights: the call's own password opens nothing", async () => {
    const known = await newUser(theirs);
    await users.createUser({ ...newcomer, email: known.email, role: "owner" });
    const logIn = async (password: string, organizationId = "") =>
      verdictOf(
        await answerTo("TokenService/IssueToken", {
          password: { email: known.email, password },
          organizationId,
        }),
      );
    assert.equal(await logIn(newcomer.password), "LOGIN_FAILED");
    assert.equal(
      await logIn(known.password, service.organizationId),
      "LOGIN_FAILED",
      "they have not consented",
    );
    assert.equal(await logIn(known.password), "accepted");
    assert.equal(await logIn(known.password, theirs), "accepted");
  });
});

/** An answer without what has to differ: the id, the email, the moments to within this minute, the rest that grows. */
function normal(answer: string, email: string): string {
  const now = Date.now();
  return answer
    .replaceAll(email, "EMAIL")
    .replace(/"id":"[^"]+"/g, '"id":"ID"')
    .replace(/"revision":"[\w-]+"/g, '"revision":"REVISION"')
    .replace(/"invitation":"in_[0-9A-Za-z_]{62}"/g, '"invitation":"SECRET"')
    .replace(/"createTime":"([^"]+)"/g, (_, time: string) => {
      const age = now - Date.parse(time);
      assert.ok(age >= -1_000 && age < 60_000, `created ${time}`);
      return '"createTime":"NOW"';
    })
    .replace(/^date: .*$/m, "")
    .replace(/^content-length: .*$/m, "");
}
