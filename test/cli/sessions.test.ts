import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { addOrganization, addUser, makePassword, type Password } from "../access/cast.ts";
import { readParts } from "../support/forge-token.ts";
import { reasonOf } from "../support/refusal.ts";
import { AuthenticationService, startService, type TestService } from "../support/service.ts";
import { linesOf, operatorOf, operatorWith } from "./operator.ts";

let service: TestService;
let password: Password;
let folder: string;
before(async () => {
  service = await startService();
  password = await makePassword(service.core);
  folder = await mkdtemp(join(tmpdir(), "latchkey-login-"));
});
after(async () => {
  await service.stop();
  await rm(folder, { recursive: true });
});

const nobody = () => ({ LATCHKEY_URL: service.url });
const login = (email: string) => ["login", "--email", email, "--password-file", "-"];
const input = () => ({ input: `${password.text}\n` });
const add = (role = "member", more: object = {}) =>
  addUser(service.core, { organizationId: service.organizationId, role, password, ...more });
const isRefused = (token: string) =>
  reasonOf(service.client(AuthenticationService, { authorization: `Bearer ${token}` }).whoAmI({}));

describe("latchkey login", { concurrency: 3 }, () => {
  it("prints a token, for the commands that follow", async (t) => {
    const { email, id } = await add();
    const running = operatorWith(t, nobody()).start(login(email), input());
    assert.deepEqual(await running.ended(), { code: 0, signal: null }, running.stderr);
    const [token = "", ...others] = linesOf(running.stdout);
    assert.deepEqual(others, []);
    assert.match(running.stderr, new RegExp(`^latchkey: logged in as ${email}, member, until \\S+Z\n$`));
    const own = await operatorOf(t, service, token).lists(["session", "list", "--user", id]);
    assert.deepEqual(
      own.map((session) => session.id),
      [readParts(token).payload["sid"]],
    );
  });

  it("keeps a token in a file that nobody else can read, only where it is told to", async (t) => {
    const { email } = await add();
    const [saved, secret] = [join(folder, "token"), join(folder, "password")];
    await writeFile(secret, `${password.text}\r\n`);
    const operator = operatorWith(t, nobody());
    const args = ["login", "--email", email, "--password-file", secret, "--save", saved];
    assert.equal(await operator.does(args), "");
    assert.equal((await stat(saved)).mode & 0o777, 0o600);
    assert.equal(await isRefused((await readFile(saved, "utf8")).trim()), undefined);
    await operator.lists(["session", "list", "--credential-file", saved]);
    assert.match(await operator.mistypes([...args, "--json"]), /--json/);
  });

  it("prints the refresh token with --json", async (t) => {
    const { email } = await add();
    const answer = await operatorWith(t, nobody()).asks(login(email), input());
    assert.match(answer.refreshToken, /^rt_/);
    assert.equal(answer.user.email, email);
  });

  it("tells which organizations there are to choose from, and takes one", async (t) => {
    const [first, second] = [service.organizationId, await addOrganization(service.core, "Zweite GmbH")];
    const { email } = await add();
    await add("viewer", { email, organizationId: second });
    const operator = operatorWith(t, nobody());
    const line = await operator.fails(login(email), input());
    assert.match(line, /^ORGANIZATION_REQUIRED: /);
    assert.ok(line.includes(`acme: ${first}`) && line.includes(`Zweite GmbH: ${second}`), line);
    const token = (await operator.does([...login(email), "--org", second], input())).trim();
    assert.equal(readParts(token).payload["org"], second);
  });

  it("says what is wrong, and never takes a password from the command line", async (t) => {
    const { email } = await add();
    const operator = operatorWith(t, nobody());
    assert.match(await operator.fails(login(email), { input: "wrong" }), /^LOGIN_FAILED: /);
    assert.match(await operator.fails(login(email), { input: "\n" }), /^no password was given$/);
    assert.match(await operator.fails(["login", "--email", email], input()), /--password-file$/);
    assert.match(await operator.mistypes(["login"]), /--email/);
    assert.match(await operator.mistypes(["login", "--email", email, "--password", "x"]), /--password/);
  });
});

describe("latchkey session", { concurrency: 3 }, () => {
  it("lists sessions and ends them, one or all of a user's", async (t) => {
    const { email, id } = await add();
    const tokens: string[] = [];
    for (let turn = 0; turn < 3; turn++) {
      tokens.push(await service.logIn(email, password.text));
    }
    const ids = tokens.map((token) => String(readParts(token).payload["sid"]));
    const operator = operatorOf(t, service);
    const shown = linesOf(await operator.does(["session", "list", "--user", id]));
    assert.match(shown[0] ?? "", /^ID +USER +KIND +BEGAN +REFRESHED +ENDS +FROM$/);
    assert.match(
      shown[1] ?? "",
      new RegExp(`^${ids[0]}  ${id}  login +\\S+Z  never +\\S+Z  127\\.0\\.0\\.1$`),
    );
    assert.equal(shown.length, 4);

    assert.equal(await operator.does(["session", "revoke", ids[1] ?? ""]), "ended\n");
    const left = await operator.lists(["session", "list", "--user", id]);
    assert.deepEqual(
      left.map((session) => session.id),
      [ids[0], ids[2]],
    );
    const answer = await operator.asks(["session", "revoke", "--user", id]);
    assert.deepEqual(Object.keys(answer), ["revision"]);
    for (const token of tokens) {
      assert.equal(await isRefused(token), "TOKEN_REVOKED");
    }
    assert.match(await operator.fails(["session", "revoke", service.organizationId]), /^NOT_FOUND: /);
    assert.match(await operator.mistypes(["session", "revoke"]), /--user/);
    assert.match(await operator.mistypes(["session", "revoke", id, "--user", id]), /--user/);
  });
});
