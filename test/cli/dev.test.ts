import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { after, before, describe, it, type TestContext } from "node:test";
import type { DevCredentials } from "../../src/cli/dev-credentials.ts";
import { mintKey } from "../../src/credentials/secret-key.ts";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { startEmbeddedPostgres } from "../../src/storage/embedded-postgres.ts";
import { migrate } from "../../src/storage/migrate.ts";
import { createDatabase, query, urlOf } from "../support/cluster.ts";
import {
  cleanup,
  clientOf,
  fetchPage,
  findProgram,
  freePort,
  latchkey,
  type ProcessOptions,
  processesOf,
  ROOT,
  type Running,
  refusal,
  refusals,
  run,
  temporaryFolder,
} from "../support/process.ts";
import { reasonOf } from "../support/refusal.ts";
import { ApiKeyService, AuthenticationService, TokenService } from "../support/service.ts";
import { until } from "../support/until.ts";
import { lockTable } from "./lock-table.ts";

/** How long what a process leaves behind may take to end. */
const GONE_MILLIS = 10_000;
const isRoot = process.geteuid?.() === 0;

/** What a start makes, to copy: the cluster alone, and all of it. */
const templates = new AsyncDisposableStack();
let withCluster: string;
let withEverything: string;
before(async () => {
  withCluster = temporaryFolder(templates);
  const postgres = await startEmbeddedPostgres({ directory: join(withCluster, "postgres"), fsync: false });
  await postgres.stop();
  withEverything = temporaryFolder(templates);
  copy(withCluster, withEverything);
  const first = await startDev(templates, withEverything);
  await first.isUp();
  first.process.kill("SIGTERM");
  assert.deepEqual(await first.process.ended(), { code: 0, signal: null });
});
after(() => templates.disposeAsync());

describe("latchkey dev", { concurrency: 3 }, () => {
  describe("the first start, in an empty folder,", { concurrency: false }, () => {
    const stack = new AsyncDisposableStack();
    after(() => stack.disposeAsync());
    let folder: string;
    let dev: Dev;
    let shown: string;
    let credentials: DevCredentials;
    before(async () => {
      folder = join(temporaryFolder(stack), "data");
      dev = await startDev(stack, folder);
      shown = await dev.isUp();
      credentials = credentialsIn(folder);
    });

    it("prints where it is, and every credential", () => {
      assert.match(shown, new RegExp(`Latchkey is at ${dev.url}$`, "m"));
      for (const value of Object.values(credentials)) {
        assert.ok(shown.includes(value), value);
      }
      assert.ok(shown.includes(join(folder, "dev.json")), shown);
      assert.equal(dev.process.stderr, "");
    });

    it("keeps the credentials, for its user only", () => {
      assert.deepEqual(Object.keys(credentials), [
        "url",
        "organizationId",
        "email",
        "password",
        "apiKey",
        "internalKey",
      ]);
      assert.equal(credentials.url, dev.url);
      assert.equal(statSync(folder).mode & 0o777, 0o700);
      assert.deepEqual(readdirSync(folder).sort(), ["dev.json", "encryption.key", "postgres"]);
      for (const file of ["dev.json", "encryption.key"]) {
        assert.equal(statSync(join(folder, file)).mode & 0o777, 0o600, file);
      }
    });

    it("makes credentials that work", () => work(credentials));

    for (const program of ["grpcurl", "curl", "npx buf curl"]) {
      it(`prints a call by ${program} that works as printed`, async (t) => {
        if (findProgram(program.split(" ")[0] ?? "") === undefined) {
          t.skip(`NOT TESTED: ${program} is not installed`);
          return;
        }
        const call = callsIn(shown).find((text) => text.startsWith(`${program} `));
        const { principal, organization, allOrganizations } = await answerTo(t, call);
        if (program === "npx buf curl") {
          assert.equal(principal?.type, "PRINCIPAL_TYPE_SERVICE");
          assert.equal(allOrganizations, true);
        } else {
          assert.equal(principal?.type, "PRINCIPAL_TYPE_API_KEY");
          assert.equal(organization?.id, credentials.organizationId);
        }
      });
    }

    it("is carried on after kill -9: the same credentials, the same data, and nothing secret is told again", async () => {
      const { secret } = await clientOf(ApiKeyService, dev.url, await bearer(credentials)).createApiKey({
        name: "made before",
        permissions: ["calls.read"],
      });
      const before = readFileSync(join(folder, "dev.json"));
      dev.process.kill("SIGKILL");
      await dev.process.ended();

      // At once, while what it left may still be ending.
      const second = await startDev(stack, folder, { port: dev.port });
      await second.isUp();
      assert.deepEqual(readFileSync(join(folder, "dev.json")), before);
      await work(credentials);
      const headers = [{ name: "X-API-Key", value: secret }];
      const { permissions } = await clientOf(AuthenticationService, second.url).authenticate({ headers });
      assert.deepEqual(permissions, ["calls.read"]);
      second.process.kill("SIGTERM");
      assert.deepEqual(await second.process.ended(), { code: 0, signal: null });
      const output = second.process.stdout + second.process.stderr;
      assert.ok(output.includes(dev.url) && output.includes(join(folder, "dev.json")), output);
      for (const told of [credentials.password, credentials.apiKey, credentials.internalKey]) {
        assert.ok(!output.includes(told), output);
      }
      assert.equal(output.includes("curl"), false);
    });
  });

  it("prints calls that work for an address of IPv6 too", async (t) => {
    if (!Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === "::1"))) {
      t.skip("NOT TESTED: there is no IPv6 here");
      return;
    }
    const database = await createDatabase("empty");
    const env = { DATABASE_URL: urlOf(database), LATCHKEY_HOST: "::1" };
    const dev = await startDev(cleanup(t), temporaryFolder(cleanup(t)), { env });
    const call = callsIn(await dev.isUp()).find((text) => text.startsWith("curl "));
    assert.equal((await answerTo(t, call)).principal?.type, "PRINCIPAL_TYPE_API_KEY");
  });

  describe("comes up with credentials that work, although the first start was ended", {
    concurrency: false,
  }, () => {
    it("by a signal at each of its steps, one after another", async (t) => {
      const folder = join(temporaryFolder(cleanup(t)), "data");
      const steps: [NodeJS.Signals, string][] = [
        ["SIGINT", "postgres/lock"],
        ["SIGKILL", "postgres/cluster.new/PG_VERSION"],
        ["SIGTERM", "postgres/cluster"],
        ["SIGKILL", "postgres/socket/.s.PGSQL.5432"],
        ["SIGKILL", "encryption.key"],
        ["SIGKILL", "dev.json"],
      ];
      for (const [signal, path] of steps) {
        const dev = await startDev(cleanup(t), folder);
        await until(`there is ${path}`, () => !dev.process.isAlive || existsSync(join(folder, path)));
        dev.process.kill(signal);
        await dev.process.ended(GONE_MILLIS);
        await nothingIsLeft(folder);
      }
      const dev = await startDev(cleanup(t), folder);
      await dev.isUp();
      await work(credentialsIn(folder));
    });

    for (const [moment, table] of Object.entries({
      "before it has a pepper": "peppers",
      "before it has written dev.json": "organizations",
      "between dev.json and the database": "api_keys",
      "after both, and before it listens": "signing_keys",
    })) {
      it(`by kill -9 ${moment}`, async (t) => {
        // On a database that is there already: one of its own would only take the time.
        const database = await createDatabase("empty");
        await migrate(database, "development");
        const folder = temporaryFolder(cleanup(t));
        const options = { env: { DATABASE_URL: urlOf(database) } };
        const lock = await lockTable(t, database, table);
        const killed = await startDev(cleanup(t), folder, options);
        await lock.blocks();
        assert.equal(existsSync(join(folder, "dev.json")), /api_keys|signing_keys/.test(table));
        killed.process.kill("SIGKILL");
        await killed.process.ended();
        await lock.release();

        const dev = await startDev(cleanup(t), folder, options);
        await dev.isUp();
        await work(credentialsIn(folder));
      });
    }

    it("by a port that is taken: the next start tells the credentials", async (t) => {
      const folder = folderWith(t, withCluster);
      const other = createServer();
      const port = await freePort();
      await new Promise<void>((resolve) => other.listen(port, "127.0.0.1", resolve));
      cleanup(t).defer(() => void other.close());
      const failed = await startDev(cleanup(t), folder, { port });
      assert.match(
        await refusal(failed.process),
        new RegExp(`^127\\.0\\.0\\.1:${port} is in use: .*LATCHKEY_PORT`),
      );
      assert.deepEqual(processesOf(folder), []);

      const dev = await startDev(cleanup(t), folder);
      const shown = await dev.isUp();
      const credentials = credentialsIn(folder);
      assert.equal(credentials.url, dev.url);
      await work(credentials);
      assert.ok(shown.includes(credentials.password), "they were never told");
    });
  });

  it("makes new credentials where dev.json was lost, and ends the internal key that it held", async (t) => {
    const folder = folderWith(t, withEverything);
    const lost = credentialsIn(folder);
    rmSync(join(folder, "dev.json"));
    const dev = await startDev(cleanup(t), folder);
    const shown = await dev.isUp();
    const found = credentialsIn(folder);
    await work(found);
    assert.equal(found.organizationId, lost.organizationId);
    assert.equal(statSync(join(folder, "dev.json")).mode & 0o777, 0o600);
    for (const name of ["password", "apiKey", "internalKey"] as const) {
      assert.notEqual(found[name], lost[name]);
      assert.ok(shown.includes(found[name]));
    }
    const headers = [{ name: "X-Internal-Key", value: lost.internalKey }];
    assert.equal(
      await reasonOf(clientOf(AuthenticationService, dev.url).authenticate({ headers })),
      "SERVICE_KEY_REVOKED",
    );
    const grant = { case: "password", value: lost } as const;
    assert.equal(await reasonOf(clientOf(TokenService, dev.url).issueToken({ grant })), "LOGIN_FAILED");
  });

  describe("refuses in one clear line, and leaves nothing running,", { concurrency: false }, () => {
    it("a dev.json that does not hold what was written there", async (t) => {
      const folder = folderWith(t, withEverything);
      const path = join(folder, "dev.json");
      const { apiKey, ...others } = credentialsIn(folder);
      for (const content of [
        '{"url":',
        JSON.stringify(others),
        JSON.stringify({ ...others, apiKey: apiKey.slice(0, -1) }),
      ]) {
        writeFileSync(path, content);
        const { process } = await startDev(cleanup(t), folder);
        assert.match(await refusal(process), /dev\.json .*remove it to have new credentials/);
        assert.deepEqual(processesOf(folder), []);
        assert.equal(readFileSync(path, "utf8"), content);
        assert.ok(!process.stderr.includes(others.internalKey));
      }
    });

    it("a dev.json with a password that nobody may choose, where it has yet to be set", async (t) => {
      const folder = folderWith(t, withEverything);
      const chosen = {
        ...credentialsIn(folder),
        apiKey: mintKey("ak").text,
        password: "hunter2hunter2hunter2",
      };
      writeFileSync(join(folder, "dev.json"), JSON.stringify(chosen));
      const { process } = await startDev(cleanup(t), folder);
      assert.match(await refusal(process), /dev\.json .*PASSWORD_COMMON.*remove it to have new credentials/);
      assert.deepEqual(processesOf(folder), []);
      assert.ok(!process.stderr.includes(chosen.password));
    });

    it("a folder whose encryption key was lost or spoilt", async (t) => {
      const folder = folderWith(t, withEverything);
      const path = join(folder, "encryption.key");
      writeFileSync(path, "nothing\n");
      assert.match(await refusal((await startDev(cleanup(t), folder)).process), /encryption\.key/);
      rmSync(path);
      // Nobody has set LATCHKEY_ENCRYPTION_KEY here.
      assert.match(await refusal((await startDev(cleanup(t), folder)).process), /encryption\.key/);
      assert.deepEqual(processesOf(folder), []);
    });

    it("a folder that another process uses, which goes on", async (t) => {
      const folder = folderWith(t, withEverything);
      const first = await startDev(cleanup(t), folder);
      await first.isUp();
      const second = await startDev(cleanup(t), folder);
      assert.match(
        await refusal(second.process),
        new RegExp(`in use by process ${first.process.pid}: stop that first`),
      );
      await work(credentialsIn(folder));
    });

    it("a path that is a file, or below one", async (t) => {
      const file = join(temporaryFolder(cleanup(t)), "file");
      writeFileSync(file, "kept");
      for (const path of [file, join(file, "data")]) {
        const line = await refusal((await startDev(cleanup(t), path)).process);
        assert.match(line, /^LATCHKEY_DATA_DIR /);
        assert.ok(line.includes(file));
      }
      assert.equal(readFileSync(file, "utf8"), "kept");
    });

    it("a folder in which it may not write", async (t) => {
      const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
      if (!isRoot || spawnSync(nobody[0] ?? "", [...nobody.slice(1), "true"]).status !== 0) {
        t.skip("NOT TESTED: only root can become another user, with setpriv");
        return;
      }
      const parent = temporaryFolder(cleanup(t));
      chmodSync(parent, 0o755);
      const refused = async (folder: string) => {
        const { process } = await startDev(cleanup(t), folder, { through: nobody });
        const line = await refusal(process);
        assert.ok(line.includes(folder), line);
        assert.match(line, /EACCES|permission/i);
        assert.deepEqual(processesOf(folder), []);
      };
      await refused(join(parent, "absent"));

      const existing = join(parent, "existing");
      mkdirSync(existing, { mode: 0o755 });
      await refused(existing);

      // Its database can be made there, but no file beside it.
      const partly = join(parent, "partly");
      mkdirSync(join(partly, "postgres"), { recursive: true, mode: 0o755 });
      chownSync(join(partly, "postgres"), 65534, 65534);
      await refused(partly);
    });

    it("wrong settings, all of them at once", async (t) => {
      const folder = join(temporaryFolder(cleanup(t)), "data");
      const { process } = await startDev(cleanup(t), folder, {
        env: { LATCHKEY_API_KEY_PREFX: "x", LATCHKEY_CALLERS: "some", LATCHKEY_PORT: "http" },
      });
      const lines = await refusals(process);
      assert.deepEqual(lines.map((line) => line.split(" ", 1)[0]).sort(), [
        "LATCHKEY_API_KEY_PREFX",
        "LATCHKEY_CALLERS",
        "LATCHKEY_PORT",
      ]);
      assert.equal(existsSync(folder), false);
    });

    it("a database of production, and one that holds other tables, which it leaves untouched", async (t) => {
      const foreign = await createDatabase("empty");
      await query(foreign, "create table diary (entry text)");
      const databases: [DatabaseConnection, RegExp][] = [
        [await createDatabase("migrated"), /the database is a production one/],
        [foreign, /holds tables that are not Latchkey's/],
      ];
      const tables = "select schemaname, tablename from pg_tables order by 1, 2";
      for (const [database, line] of databases) {
        const before = await query(database, tables);
        const folder = temporaryFolder(cleanup(t));
        const { process } = await startDev(cleanup(t), folder, { env: { DATABASE_URL: urlOf(database) } });
        assert.match(await refusal(process), line);
        assert.deepEqual(await query(database, tables), before);
        assert.deepEqual(readdirSync(folder), []);
      }
    });
  });

  it("runs on the database of DATABASE_URL, without one of its own", async (t) => {
    const database = await createDatabase("empty");
    const folder = temporaryFolder(cleanup(t));
    const dev = await startDev(cleanup(t), folder, { env: { DATABASE_URL: urlOf(database) } });
    await dev.isUp();
    await work(credentialsIn(folder));
    assert.deepEqual(readdirSync(folder).sort(), ["dev.json", "encryption.key"]);
    assert.deepEqual(await query(database, "select mode from latchkey_deployment"), [
      { mode: "development" },
    ]);
  });

  it("of two at once in one folder and on one database, says to each that it runs, or in one line why not", async (t) => {
    const database = await createDatabase("empty");
    await migrate(database, "development");
    const folder = temporaryFolder(cleanup(t));
    const options = { env: { DATABASE_URL: urlOf(database) } };
    const both = await Promise.all([1, 2].map(() => startDev(cleanup(t), folder, options)));
    const isDecided = ({ process }: Dev) => !process.isAlive || process.stdout.includes("Latchkey is at");
    await until("both are up or have ended", () => both.every(isDecided));
    const running = both.filter(({ process }) => process.isAlive);
    assert.notEqual(running.length, 0);
    for (const { process } of both.filter((one) => !running.includes(one))) {
      await refusal(process);
    }
    for (const { url } of running) {
      await work({ ...credentialsIn(folder), url });
    }
  });

  it("says so and fails where its PostgreSQL dies", async (t) => {
    const folder = folderWith(t, withEverything);
    const dev = await startDev(cleanup(t), folder);
    await dev.isUp();
    const postmaster = Number.parseInt(
      readFileSync(join(folder, "postgres/cluster/postmaster.pid"), "utf8"),
      10,
    );
    process.kill(postmaster, "SIGKILL");
    const { code } = await dev.process.ended(GONE_MILLIS);
    assert.match(dev.process.stdout + dev.process.stderr, /PostgreSQL on .* ended by itself/);
    await nothingIsLeft(folder);
    assert.equal(code, 1);
  });

  describe("leaves nothing running", { concurrency: 2 }, () => {
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      it(`after ${signal}`, async (t) => {
        const folder = folderWith(t, withEverything);
        const dev = await startDev(cleanup(t), folder);
        await dev.isUp();
        assert.ok(processesOf(folder).length > 2, "the test finds them while it runs");
        dev.process.kill(signal);
        const expected = signal === "SIGKILL" ? { code: null, signal } : { code: 0, signal: null };
        assert.deepEqual(await dev.process.ended(GONE_MILLIS), expected);
        if (signal === "SIGKILL") {
          await nothingIsLeft(folder);
        }
        assert.deepEqual(processesOf(folder), []);
        databaseIsShutDown(folder);
      });
    }

    it("after Ctrl-C, which reaches all of its process group, and shuts the database down in order", async (t) => {
      const folder = folderWith(t, withEverything);
      const dev = await startDev(cleanup(t), folder, { detached: true });
      await dev.isUp();
      dev.process.killGroup("SIGINT");
      assert.deepEqual(await dev.process.ended(GONE_MILLIS), { code: 0, signal: null });
      assert.deepEqual(processesOf(folder), []);
      databaseIsShutDown(folder);
    });

    describe("that `npm start` started", () => {
      const start = async (t: TestContext) => {
        const folder = folderWith(t, withEverything);
        const dev = await startDev(cleanup(t), folder, { detached: true, command: ["npm", "start"] });
        await dev.isUp();
        return { folder, ...dev };
      };

      it("after Ctrl-C, which reaches all of them", async (t) => {
        const { folder, process } = await start(t);
        process.killGroup("SIGINT");
        assert.deepEqual(await process.ended(GONE_MILLIS), { code: 0, signal: null });
        await nothingIsLeft(folder);
        databaseIsShutDown(folder);
      });

      for (const signal of ["SIGTERM", "SIGKILL"] as const) {
        it(`after ${signal} of npm alone`, async (t) => {
          const { folder, process, url } = await start(t);
          process.kill(signal);
          await process.ended(GONE_MILLIS);
          await nothingIsLeft(folder);
          databaseIsShutDown(folder);
          assert.equal((await fetchPage(`${url}/livez`)).status, 0);
        });
      }
    });

    describe("that an older Node started, which starts another", () => {
      const older = olderNode();
      const start = async (t: TestContext) => {
        if (older === undefined) {
          t.skip("NOT TESTED: there is no Node before 24 here");
          return undefined;
        }
        const folder = folderWith(t, withEverything);
        const command = [older, join(ROOT, "bin/latchkey.js"), "dev"];
        const dev = await startDev(cleanup(t), folder, { detached: true, command });
        await dev.isUp();
        return { folder, process: dev.process };
      };

      it("after Ctrl-C, which reaches both", async (t) => {
        const dev = await start(t);
        if (dev !== undefined) {
          dev.process.killGroup("SIGINT");
          assert.deepEqual(await dev.process.ended(GONE_MILLIS), { code: 0, signal: null });
          await nothingIsLeft(dev.folder);
          databaseIsShutDown(dev.folder);
        }
      });

      it("after SIGKILL of the older one alone", async (t) => {
        const dev = await start(t);
        if (dev !== undefined) {
          dev.process.kill("SIGKILL");
          await dev.process.ended();
          await nothingIsLeft(dev.folder);
          databaseIsShutDown(dev.folder);
        }
      });
    });
  });
});

interface Dev {
  readonly process: Running;
  readonly port: number;
  readonly url: string;
  /** Waits until it listens. @returns what it told, up to there. */
  isUp(): Promise<string>;
}

interface DevOptions extends ProcessOptions {
  readonly port?: number;
  /** What starts it: by default `latchkey dev`. */
  readonly command?: readonly string[];
}

async function startDev(
  stack: AsyncDisposableStack,
  folder: string,
  { port: chosen, command, env = {}, ...options }: DevOptions = {},
): Promise<Dev> {
  const port = chosen ?? (await freePort());
  const all = { ...options, env: { LATCHKEY_DATA_DIR: folder, LATCHKEY_PORT: String(port), ...env } };
  const process = command === undefined ? latchkey(stack, ["dev"], all) : run(stack, command, all);
  const host = env["LATCHKEY_HOST"] === undefined ? "127.0.0.1" : `[${env["LATCHKEY_HOST"]}]`;
  return {
    process,
    port,
    url: `http://${host}:${port}`,
    async isUp() {
      await process.said(/Latchkey is at [\s\S]*\n\n$/);
      return process.stdout;
    },
  };
}

function credentialsIn(folder: string): DevCredentials {
  return JSON.parse(readFileSync(join(folder, "dev.json"), "utf8"));
}

/** That each of the credentials is good for what it is there for. */
async function work({
  url,
  organizationId,
  email,
  password,
  apiKey,
  internalKey,
}: DevCredentials): Promise<void> {
  const client = clientOf(AuthenticationService, url);
  const ask = (name: string, value: string) => client.authenticate({ headers: [{ name, value }] });
  const byKey = await ask("X-API-Key", apiKey);
  assert.equal(byKey.organization?.id, organizationId);
  assert.equal(byKey.organization.name, "acme");
  assert.ok(byKey.permissions.includes("calls.read"));
  const byInternalKey = await ask("X-Internal-Key", internalKey);
  assert.equal(byInternalKey.allOrganizations, true);
  assert.ok(byInternalKey.permissions.includes("platform.organizations.write"));
  const { authorization } = await bearer({ url, email, password });
  const byToken = await ask("Authorization", authorization);
  assert.equal(byToken.principal?.email, email);
  assert.equal(byToken.organization?.id, organizationId);
  assert.ok(byToken.permissions.includes("platform.organizations.write"));
}

async function bearer({ url, email, password }: Pick<DevCredentials, "url" | "email" | "password">) {
  const grant = { case: "password", value: { email, password } } as const;
  const { accessToken } = await clientOf(TokenService, url).issueToken({ grant });
  return { authorization: `Bearer ${accessToken}` };
}

/** The commands to paste, as they are printed. */
function callsIn(shown: string): string[] {
  const [, calls = ""] = shown.split("Who is behind that API key?\n");
  return calls.split(/\n\s*\n/).map((text) => text.trim());
}

interface JsonAnswer {
  readonly principal?: { readonly type?: string };
  readonly organization?: { readonly id?: string };
  readonly allOrganizations?: boolean;
}

async function answerTo(t: TestContext, call: string | undefined): Promise<JsonAnswer> {
  const shell = run(cleanup(t), ["bash", "-c", call ?? assert.fail("no such call was printed")]);
  assert.deepEqual(await shell.ended(), { code: 0, signal: null }, shell.stderr);
  return JSON.parse(shell.stdout);
}

async function nothingIsLeft(folder: string): Promise<void> {
  const told = () =>
    processesOf(folder)
      .map((pid) => spawnSync("ps", ["-o", "pid=,args=", "-p", String(pid)], { encoding: "utf8" }).stdout)
      .join("");
  try {
    await until("nothing is left", () => processesOf(folder).length === 0, { within: GONE_MILLIS });
  } catch {
    assert.fail(`after ${GONE_MILLIS} ms there still is:\n${told()}`);
  } finally {
    for (const pid of processesOf(folder)) {
      process.kill(pid, "SIGKILL");
    }
  }
}

function databaseIsShutDown(folder: string): void {
  assert.equal(existsSync(join(folder, "postgres/cluster/postmaster.pid")), false);
  assert.match(
    readFileSync(join(folder, "postgres/postgres.log"), "utf8").trimEnd(),
    /database system is shut down$/,
  );
}

function folderWith(t: TestContext, template: string): string {
  const folder = temporaryFolder(cleanup(t));
  copy(template, folder);
  return folder;
}

/** What PostgreSQL and we keep, without what is only there while it runs. */
function copy(from: string, to: string): void {
  cpSync(from, to, { recursive: true, filter: (path) => !/\/postgres\/(lock|socket)/.test(path) });
}

function olderNode(): string | undefined {
  return (process.env["PATH"] ?? "")
    .split(":")
    .map((folder) => join(folder, "node"))
    .find((path) => {
      const { stdout } = spawnSync(path, ["--version"], { encoding: "utf8" });
      return Number(/^v(\d+)/.exec(stdout ?? "")?.[1] ?? 24) < 24;
    });
}
