import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { basename, join } from "node:path";
import { after, before, describe, type TestContext, test } from "node:test";
import { promisify } from "node:util";
import type { Core } from "../../src/app.ts";
import { readTls } from "../../src/server/tls-files.ts";
import { createAuthority } from "../server/certificates.ts";
import { cleanup, findProgram, freePort, ROOT, run, temporaryFolder } from "../support/process.ts";
import {
  ApiKeyService,
  startService,
  type TestService,
  type TestServiceOptions,
} from "../support/service.ts";

/** A program of examples/, and how its README makes it ready to run. */
export interface ExampleClient {
  /** Its folder in examples/. */
  readonly folder: string;
  /** The program that it cannot do without. */
  readonly needs: string;
  /** The commands of its README that bring packages from outside. */
  readonly fetches: RegExp;
  /** How its README starts it, in its folder. */
  readonly start: string;
}

interface Answer {
  readonly status?: number;
  readonly reason?: string;
  readonly principal?: { readonly id: string; readonly type: string; readonly email?: string };
  readonly organization?: { readonly id: string; readonly name: string };
  readonly permissions?: readonly string[];
}

const authority = createAuthority();
const stranger = createAuthority("Stranger");
const own = authority.issue();

/** What every example must do: the same flags, the same line on standard output, the same decisions. */
export function testExampleClient(client: ExampleClient): void {
  describe(`examples/${client.folder}`, () => testClient(client));
}

function testClient({ folder, needs, fetches, start }: ExampleClient): void {
  const stack = new AsyncDisposableStack();
  let services: Services;
  /** The project's contract and the example, in a folder of their own. */
  let copy = "";
  /** Why nothing here can be tested. */
  let missing: string | undefined;
  before(
    async () => {
      copy = temporaryFolder(stack);
      missing = await makeReady();
      if (missing === undefined) {
        services = await startServices(stack);
      }
    },
    // Where it was never built, all of gRPC is compiled.
    { timeout: 400_000 },
  );
  after(() => stack.disposeAsync());

  /** Copies the example and carries out the first commands of its README. */
  async function makeReady(): Promise<string | undefined> {
    if (findProgram(needs) === undefined) {
      return `${needs} is not installed`;
    }
    for (const path of ["buf.yaml", "proto", join("examples", folder)]) {
      const isOurs = (source: string) => ![".venv", "gen"].includes(basename(source));
      cpSync(join(ROOT, path), join(copy, path), { recursive: true, filter: isOurs });
    }
    const cwd = join(copy, "examples", folder);
    const path = [join(ROOT, "node_modules/.bin"), process.env["PATH"], join(homedir(), "go/bin")].join(":");
    // A package that would have to be compiled is one that cannot be had.
    const env = { ...process.env, PATH: path, PIP_ONLY_BINARY: ":all:" };
    const commands = /```sh\n(.*?)```/s.exec(readFileSync(join(cwd, "README.md"), "utf8"))?.[1] ?? "";
    for (const command of commands.trim().split(/(?<!\\)\n/)) {
      try {
        await promisify(execFile)("sh", ["-c", `exec ${command}`], { cwd, env, timeout: 180_000 });
      } catch (error) {
        if (fetches.test(command)) {
          return `what it needs cannot be had: ${String(error).trim().split("\n").at(-1)}`;
        }
        throw error;
      }
    }
    return undefined;
  }

  const example = (name: string, body: (t: TestContext) => Promise<void>) =>
    test(name, async (t) => {
      if (missing !== undefined) {
        t.skip(`NOT TESTED: ${missing}`);
        return;
      }
      await body(t);
    });

  /** Runs the example, with `more` as a shell reads it. @returns the line that it prints, and what it logs. */
  async function ask(t: TestContext, args: readonly string[], more = "") {
    const script = `cd "$1" && shift && exec ${start} "$@" ${more}`;
    const client = run(cleanup(t), ["sh", "-c", script, "sh", join(copy, "examples", folder), ...args]);
    assert.deepEqual(await client.ended(), { code: 0, signal: null }, client.stderr);
    const [line = "", ...others] = client.stdout.split("\n");
    assert.deepEqual(others, [""], "one line");
    return { answer: JSON.parse(line) as Answer, log: client.stderr };
  }

  const addressOf = ({ port }: { readonly port: number }) => ["--address", `127.0.0.1:${port}`];
  const header = (...headers: readonly string[]) => headers.flatMap((text) => ["--header", text]);
  const requiring = (...permissions: readonly string[]) => permissions.flatMap((name) => ["--require", name]);
  const refused = (status: number, reason: string) => ({ status, reason });

  for (const [over, flagsTo] of [
    ["plaintext", ({ plain }: Services) => addressOf(plain)],
    [
      "TLS, where Latchkey wants to know who asks",
      ({ tls }: Services) => [
        ...addressOf(tls),
        ...["--tls-ca", authority.certificateFile, "--caller-key", tls.internalKey],
      ],
    ],
  ] as const) {
    describe(`over ${over},`, () => {
      const put = (t: TestContext, args: readonly string[], more?: string) =>
        ask(t, [...flagsTo(services), ...args], more);

      example("an API key is let through as who it is, for what it may do", async (t) => {
        const headers = header("Accept: */*", `x-api-key: ${services.plain.apiKey}`);
        const { answer } = await put(t, [...headers, ...requiring("calls.read")]);
        assert.equal(answer.principal?.type, "PRINCIPAL_TYPE_API_KEY");
        assert.equal(answer.organization?.id, services.plain.organizationId);
        const { permissions = [] } = answer;
        assert.ok(
          permissions.includes("calls.read") && permissions.every((name) => name.startsWith("calls.")),
        );
      });

      example("so is a person, by their token", async (t) => {
        const { admin, organizationId } = services.plain;
        const { answer } = await put(t, header(`Authorization: Bearer ${services.token}`));
        assert.equal(answer.principal?.type, "PRINCIPAL_TYPE_USER");
        assert.deepEqual([answer.principal.id, answer.principal.email], [admin.id, admin.email]);
        assert.equal(answer.organization?.id, organizationId);
      });

      example("a revoked key, one that never was, and none are told apart", async (t) => {
        for (const [text, reason] of [
          [`X-API-Key: ${services.revokedKey}`, "API_KEY_REVOKED"],
          ["X-API-Key: garbage", "API_KEY_INVALID"],
          ["Accept: */*", "CREDENTIAL_MISSING"],
        ] as const) {
          assert.deepEqual((await put(t, header(text))).answer, refused(401, reason));
        }
      });

      example("what is not allowed and what is not clear are refused too", async (t) => {
        const key = `X-API-Key: ${services.plain.apiKey}`;
        const denied = await put(t, [...header(key), ...requiring("calls.read", "auth.authenticate")]);
        assert.deepEqual(denied.answer, refused(403, "PERMISSION_DENIED"));
        assert.deepEqual((await put(t, header(key, key))).answer, refused(400, "CREDENTIALS_AMBIGUOUS"));
        assert.deepEqual((await put(t, header(`${key}é`))).answer, refused(400, "CREDENTIAL_MALFORMED"));
      });

      example("a key that is used more often than it may be is told to wait, and not refused", async (t) => {
        const client = services.plain.client(ApiKeyService, { authorization: `Bearer ${services.token}` });
        const { secret } = await client.createApiKey({
          name: "once a day",
          permissions: ["calls.read"],
          rateLimit: { requests: 1, windowSeconds: 86_400 },
        });
        assert.ok((await put(t, header(`X-API-Key: ${secret}`))).answer.principal);
        assert.deepEqual((await put(t, header(`X-API-Key: ${secret}`))).answer, refused(429, "RATE_LIMITED"));
      });

      example("bytes that are not text, in a header that is no credential, hinder nobody", async (t) => {
        const noted = `--header "X-Note: $(printf '\\377\\200')"`;
        assert.ok((await put(t, header(`X-API-Key: ${services.plain.apiKey}`), noted)).answer.principal);
      });
    });
  }

  describe("there is no decision, which is 503, and the log says why, where", () => {
    /** Asks about a good credential. */
    async function undecided(t: TestContext, why: RegExp, ...flags: string[]): Promise<void> {
      const { answer, log } = await ask(t, [...flags, ...header(`X-API-Key: ${services.plain.apiKey}`)]);
      assert.deepEqual(answer, refused(503, "UNAVAILABLE"));
      assert.match(log, why);
    }

    example("nobody listens", async (t) => {
      await undecided(t, /unavailable/i, ...addressOf({ port: await freePort() }));
    });

    example("the database is away", async (t) => {
      await undecided(t, /unavailable/i, ...addressOf(services.broken));
    });

    example("the certificate is of another authority, or TLS is not spoken", async (t) => {
      const flags = [...addressOf(services.tls), "--caller-key", services.tls.internalKey];
      await undecided(t, /unavailable/i, ...flags, "--tls-ca", stranger.certificateFile);
      await undecided(t, /unavailable/i, ...flags);
    });

    example("Latchkey does not know who asks", async (t) => {
      const flags = [...addressOf(services.tls), "--tls-ca", authority.certificateFile];
      for (const presented of [[], ["--caller-key", "sk_garbage"], ["--caller-key", services.plain.apiKey]]) {
        await undecided(t, /failed_?precondition/i, ...flags, ...presented);
      }
    });
  });
}

interface Services {
  readonly plain: TestService;
  readonly tls: TestService;
  readonly broken: TestService;
  readonly token: string;
  readonly revokedKey: string;
}

/** One deployment, by three doors: plaintext, TLS with callers who say who they are, and without a database. */
async function startServices(stack: AsyncDisposableStack): Promise<Services> {
  const start = async (options?: TestServiceOptions) => {
    const service = await startService(options);
    stack.defer(() => service.stop());
    return service;
  };
  const plain = await start();
  const token = await plain.logIn();
  const keys = plain.client(ApiKeyService, { Authorization: `Bearer ${token}` });
  const { apiKey, secret } = await keys.createApiKey({ name: "short-lived", permissions: ["calls.read"] });
  await keys.revokeApiKey({ id: apiKey?.id ?? "" });
  return {
    plain,
    tls: await start({
      beside: plain,
      callers: "authenticated",
      tls: await readTls({ ...own, clientCertificates: "required" }),
    }),
    broken: await start({ beside: plain, wrapCore: withoutDatabase }),
    token,
    revokedKey: secret,
  };
}

function withoutDatabase(core: Core): Core {
  return { ...core, storage: { ...core.storage, verify: () => Promise.reject(new Error("it is gone")) } };
}
