import assert from "node:assert/strict";
import { createHash, createHmac, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createWriteStream, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import { after, before, describe, it, type TestContext } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import bcrypt from "bcryptjs";
import {
  type ImportApiKeysRequest,
  ImportApiKeysRequestSchema,
  ImportApiKeysResponseSchema,
  ImportOutcome,
} from "../../src/gen/latchkey/v1/api_key_pb.ts";
import { cleanup, type Running, temporaryFolder } from "../support/process.ts";
import { reasonOf } from "../support/refusal.ts";
import { ApiKeyService, AuthenticationService, startService, type TestService } from "../support/service.ts";
import { until } from "../support/until.ts";
import { field, linesOf, operatorOf, operatorWith } from "./operator.ts";

/** How the other system's keys look. */
const FORMAT = ["--format-prefix", "old_", "--length", "36", "--alphabet", "hex"];
const SHA256 = [...FORMAT, "--algorithm", "sha256"];
const MOST_BYTES = 4 * 1024 * 1024;
/** Of a large file. */
const ROWS = 24_500;

const oldKey = () => `old_${randomBytes(16).toString("hex")}`;
const digest = (text: string) => createHash("sha256").update(text).digest();

describe("latchkey key import", { concurrency: 2 }, () => {
  let service: TestService;
  before(async () => {
    service = await startService();
  });
  after(() => service.stop());

  const use = (apiKey: string) =>
    reasonOf(
      service.client(AuthenticationService).authenticate({ headers: [{ name: "X-API-Key", value: apiKey }] }),
    );

  async function namesOf(prefix: string): Promise<string[]> {
    const operator = service.client(ApiKeyService, { "x-internal-key": service.internalKey });
    const { organizationId } = service;
    const names: string[] = [];
    let pageToken = "";
    do {
      const page = await operator.listApiKeys({
        organizationId,
        nameContains: prefix,
        pageSize: 250,
        pageToken,
      });
      names.push(...page.apiKeys.map(({ name }) => name));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    return names;
  }

  function fileOf(t: TestContext, name: string, content: string): string {
    const path = join(temporaryFolder(cleanup(t)), name);
    writeFileSync(path, content);
    return path;
  }

  const jsonLines = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");

  /** What each row of a report says. */
  const reportOf = (
    text: string,
  ): { line: number; name: string; id: string; outcome: string; reason: string }[] =>
    linesOf(text).map((line) => JSON.parse(line));

  async function ended(command: Running, code: number): Promise<void> {
    assert.deepEqual(await command.ended(), { code, signal: null }, command.stdout + command.stderr);
  }

  const counts = (shown: string) =>
    ["imported", "unchanged", "refused", "skipped"].map((name) => Number(field(shown, name)));

  it("imports nothing where some of thousands of rows are wrong, tells which, and later imports all", async (t) => {
    const texts = Array.from({ length: 3000 }, oldKey);
    const rows = texts.map((text, index) => ({
      name: `nothing ${index}`,
      permissions: ["calls.read"],
      hash: digest(text).toString(index % 2 === 0 ? "hex" : "base64"),
    }));
    const bad = new Map<number, [row: object | string, reason: string]>([
      [10, ["{not json", "REQUEST_INVALID"]],
      [11, ["[1]", "REQUEST_INVALID"]],
      [700, [{ ...rows[699], hash: "abcd" }, "KEY_HASH_INVALID"]],
      [701, [{ ...rows[700], hash: undefined }, "KEY_HASH_INVALID"]],
      [1500, [{ ...rows[1499], permissions: ["calls.raed"] }, "PERMISSION_UNKNOWN"]],
      [1501, [{ ...rows[1500], misspelt: true }, "REQUEST_INVALID"]],
      [1502, [{ ...rows[1501], metadata: { "no spaces": "x" } }, "REQUEST_INVALID"]],
      [1503, [{ ...rows[1502], rateLimit: "often" }, "REQUEST_INVALID"]],
      [1504, [{ ...rows[1503], expireTime: "2027-02-30" }, "REQUEST_INVALID"]],
      [1505, [{ ...rows[1504], expireTime: "2001-01-01" }, "REQUEST_INVALID"]],
      [2999, [{ ...rows[2998], hash: rows[0]?.hash }, "KEY_HASH_TAKEN"]],
      [3000, [{ ...rows[2999], name: "" }, "REQUEST_INVALID"]],
    ]);
    const spoilt = rows.map((row, index) => {
      const [instead = row] = bad.get(index + 1) ?? [];
      return typeof instead === "string" ? instead : JSON.stringify(instead);
    });
    const operator = operatorOf(t, service);
    const report = join(temporaryFolder(cleanup(t)), "report.jsonl");
    const args = [...SHA256, "--owner", service.admin.id, "--report", report];

    const spoiltPath = fileOf(t, "keys.jsonl", spoilt.join("\n"));
    const refused = operator.start(["key", "import", spoiltPath, ...args]);
    await ended(refused, 1);
    assert.deepEqual(counts(refused.stdout), [0, 0, bad.size, 3000 - bad.size]);
    const told = reportOf(readFileSync(report, "utf8"));
    assert.deepEqual(
      told.map(({ line, outcome, reason }) => [line, outcome, reason]),
      [...bad].map(([line, [, reason]]) => [line, "IMPORT_OUTCOME_REFUSED", reason]),
    );
    assert.match(refused.stderr, /^latchkey: line 1500 \(nothing 1499\): PERMISSION_UNKNOWN: .*calls\.raed/m);
    assert.match(
      refused.stderr,
      /^latchkey: line 2999 \(nothing 2998\): KEY_HASH_TAKEN: line 1 has the same hash/m,
    );
    assert.match(refused.stderr, /^latchkey: 3000 rows looked at\nlatchkey: nothing was imported$/m);
    assert.deepEqual(await namesOf("nothing "), []);
    for (const text of texts.slice(0, 3)) {
      assert.ok(!refused.stderr.includes(digest(text).toString("hex")), "a hash was told");
    }

    const goodPath = fileOf(t, "keys.jsonl", jsonLines(rows));
    const dry = operator.start(["key", "import", goodPath, ...args, "--dry-run"]);
    await ended(dry, 0);
    assert.deepEqual(counts(dry.stdout), [3000, 0, 0, 0]);
    assert.deepEqual(await namesOf("nothing "), []);

    const good = operator.start(["key", "import", goodPath, ...args]);
    await ended(good, 0);
    assert.deepEqual(counts(good.stdout), [3000, 0, 0, 0]);
    assert.match(good.stderr, /^latchkey: 3000 rows looked at\nlatchkey: 3000 rows done\n$/);
    assert.deepEqual((await namesOf("nothing ")).sort(), rows.map(({ name }) => name).sort());
    const all = reportOf(readFileSync(report, "utf8"));
    assert.equal(new Set(all.map(({ id }) => id)).size, 3000);
    assert.equal(statSync(report).mode & 0o077, 0);
    for (const text of [texts[0], texts[1], texts[2999]]) {
      assert.equal(await use(text ?? ""), undefined);
    }

    const again = operator.start(["key", "import", goodPath, ...args]);
    await ended(again, 0);
    assert.deepEqual(counts(again.stdout), [0, 3000, 0, 0]);
  });

  it("imports what can be imported, if told so, from CSV with all that a key has", async (t) => {
    const [one, two] = [oldKey(), oldKey()];
    const path = fileOf(
      t,
      "keys.csv",
      [
        "name,permissions,hash,expire_time,allowedCidrs,environment,rate_limit,metadata.team,metadata.note",
        `best one,"calls.*,`,
        `auth.users.read",${digest(one).toString("hex")},2099-01-31,10.0.0.0/8 2001:db8::/32,test,5/1h,payments,"a ""note"", too"`,
        `best two,calls.read,${digest(two).toString("base64url")},,,,,,`,
        "best three,calls.read,nothing,,,,,,",
        "best four,calls.read",
      ].join("\r\n"),
    );
    const operator = operatorOf(t, service);
    const command = operator.start(["key", "import", path, ...SHA256, "--mode", "best-effort", "--json"]);
    await ended(command, 1);
    const rows = reportOf(command.stdout);
    assert.deepEqual(
      rows.map(({ line, name, outcome, reason }) => [line, name, outcome, reason]),
      [
        [2, "best one", "IMPORT_OUTCOME_IMPORTED", ""],
        [4, "best two", "IMPORT_OUTCOME_IMPORTED", ""],
        [5, "best three", "IMPORT_OUTCOME_REFUSED", "KEY_HASH_INVALID"],
        [6, "", "IMPORT_OUTCOME_REFUSED", "REQUEST_INVALID"],
      ],
    );
    assert.match(command.stderr, /^latchkey: imported 2, unchanged 0, refused 2, skipped 0$/m);
    const { apiKey } = await operator.asks(["key", "get", rows[0]?.id ?? ""]);
    const { id: _, createTime: __, creatorId, ...rest } = apiKey;
    assert.deepEqual(rest, {
      organizationId: service.organizationId,
      name: "best one",
      permissions: ["auth.users.read", "calls.*"],
      environment: "test",
      allowedCidrs: ["10.0.0.0/8", "2001:db8::/32"],
      expireTime: "2099-01-31T00:00:00Z",
      revokeReason: "",
      displayPrefix: "",
      // Of nobody but the internal key that imported it.
      ownerId: creatorId,
      metadata: { team: "payments", note: 'a "note", too' },
      rateLimit: { requests: 5, windowSeconds: 3600 },
      slots: [],
      imported: true,
    });
    assert.equal(await use(two), undefined);
  });

  it("takes the secret of an HMAC from a file, and salted hashes with their lookup prefix", async (t) => {
    const operator = operatorOf(t, service);
    const keyed = oldKey();
    const hmac = createHmac("sha256", "the secret").update(keyed).digest("hex");
    const path = fileOf(
      t,
      "keys.jsonl",
      jsonLines([{ name: "keyed", permissions: ["calls.read"], hash: hmac }]),
    );
    const hashing = ["--algorithm", "hmac-sha256", "--hmac-secret-file", fileOf(t, "secret", "the secret\n")];
    await operator.does(["key", "import", path, ...FORMAT, ...hashing]);
    assert.equal(await use(keyed), undefined);

    const salted = oldKey();
    const hash = await bcrypt.hash(salted, 4);
    const row = { name: "salted", permissions: ["calls.read"], hash, lookupPrefix: salted.slice(0, 16) };
    const saltedPath = fileOf(t, "keys.data", jsonLines([row]));
    await operator.does([
      "key",
      "import",
      saltedPath,
      ...FORMAT,
      "--algorithm",
      "bcrypt",
      "--file-format",
      "jsonl",
    ]);
    assert.equal(await use(salted), undefined);
    assert.notEqual(await use(`${salted.slice(0, 16)}${"0".repeat(20)}`), undefined);
  });

  it("says what is wrong with the file, or how it was called, before it asks for anything", async (t) => {
    const operator = operatorOf(t, service);
    const good = fileOf(t, "keys.jsonl", "");
    const csv = (header: string) => ["key", "import", fileOf(t, "keys.csv", `${header}\n`), ...SHA256];
    const cases: [string[], RegExp][] = [
      [["key", "import", "/nothing", ...SHA256], /^\/nothing cannot be read: ENOENT/],
      [
        ["key", "import", "/dev/null", ...SHA256],
        /^\/dev\/null is no file; it has to be one, since it is read twice$/,
      ],
      [
        ["key", "import", fileOf(t, "keys.jsonl", "\xff\xfe".repeat(9)), ...SHA256, "--report", "/nothing/x"],
        /^\/nothing\/x cannot be written: /,
      ],
      [csv("name,permissions"), /the first line names the columns, each once, hash among them: /],
      [csv("name,hash,hash"), /the first line names the columns, /],
      [csv("name,hash,colour"), /the first line names the columns, /],
    ];
    for (const [args, line] of cases) {
      const command = operator.start(args);
      await ended(command, 1);
      assert.match(
        linesOf(command.stderr).at(-1) ?? "",
        new RegExp(`^latchkey: .*${line.source.replace(/^\^/, "")}`),
      );
    }
    const binary = join(temporaryFolder(cleanup(t)), "keys.jsonl");
    writeFileSync(binary, Buffer.from([0x7b, 0xff, 0xfe]));
    assert.match(
      await lastLine(operator.start(["key", "import", binary, ...SHA256])),
      /keys\.jsonl is no UTF-8$/,
    );

    for (const [args, line] of [
      [["key", "import", good, ...FORMAT, "--algorithm", "hmac-sha256"], /^an HMAC has a secret/],
      [
        ["key", "import", good, ...SHA256, "--hmac-secret-file", good],
        /^an HMAC has a secret, and nothing else has/,
      ],
      [["key", "import", good, ...FORMAT, "--algorithm", "md5"], /Allowed choices are sha256, /],
      [["key", "import", good, ...FORMAT], /^required option '--algorithm <name>'/],
      [
        ["key", "import", good, "--alphabet", "hex", "--algorithm", "sha256"],
        /^required option '--length <count>'/,
      ],
    ] as const) {
      assert.match(await operator.mistypes(args), line);
    }
    const nowhere = operatorWith(t, { LATCHKEY_URL: service.url, LATCHKEY_CREDENTIAL: service.internalKey });
    assert.match(
      await nowhere.mistypes(["key", "import", good, ...SHA256]),
      /^the keys belong to an organization: --org <id>; /,
    );
    const weak = operatorOf(t, service, service.apiKey);
    const row = jsonLines([{ name: "x", permissions: ["calls.read"], hash: "00".repeat(32) }]);
    const refused = weak.start(["key", "import", fileOf(t, "keys.jsonl", row), ...SHA256]);
    assert.match(await lastLine(refused), /^latchkey: PERMISSION_DENIED: .*platform\.api_keys\.import/);
    assert.deepEqual(counts(refused.stdout), [0, 0, 0, 0]);
  });

  async function lastLine(command: Running): Promise<string> {
    await ended(command, 1);
    return linesOf(command.stderr).at(-1) ?? "";
  }

  it("goes in calls of up to 10,000 rows and 4 MiB, and is never in memory whole", async (t) => {
    const fake = await startFakeImport(t);
    const path = join(temporaryFolder(cleanup(t)), "keys.jsonl");
    const file = createWriteStream(path);
    const metadata = Object.fromEntries(Array.from({ length: 32 }, (_, at) => [`m${at}`, "x".repeat(500)]));
    for (let row = 0; row < ROWS; row++) {
      const hash = digest(String(row)).toString("hex");
      // At first they are small, so that the one bound is met; later large, for the other.
      const line = {
        name: `row ${row}`,
        permissions: ["calls.read"],
        hash,
        ...(row >= 20_000 && { metadata }),
      };
      if (!file.write(`${JSON.stringify(line)}\n`)) {
        await once(file, "drain");
      }
    }
    await finished(file.end());
    assert.ok(statSync(path).size > 64 * 1024 * 1024);

    const command = fake.operator.start(["key", "import", path, ...SHA256, "--dry-run"], {
      // Less than the file, by far.
      env: { NODE_OPTIONS: "--max-old-space-size=72" },
    });
    assert.deepEqual(await command.ended(100_000), { code: 0, signal: null }, command.stderr);
    assert.deepEqual(counts(command.stdout), [ROWS, 0, 0, 0]);
    assert.deepEqual(
      fake.calls.slice(0, 2).map(({ keys }) => keys),
      [10_000, 10_000],
    );
    assert.ok(fake.calls.every(({ keys, bytes }) => keys <= 10_000 && bytes <= MOST_BYTES));
    assert.ok(fake.calls.slice(2, -1).every(({ bytes }) => bytes > MOST_BYTES - 20_000));
    assert.ok(fake.calls.every(({ validateOnly }) => validateOnly));
    assert.equal(new Set(fake.calls.flatMap(({ names }) => names)).size, ROWS);
  });

  it("looks at every row of a larger file before the first is written", async (t) => {
    const rows = Array.from({ length: 10_001 }, (_, row) => ({
      name: `row ${row}`,
      permissions: ["calls.read"],
      hash: digest(String(row)).toString("hex"),
    }));
    const path = fileOf(t, "keys.jsonl", jsonLines(rows));
    const fake = await startFakeImport(t);
    await fake.operator.does(["key", "import", path, ...SHA256]);
    assert.deepEqual(
      fake.calls.map(({ keys, validateOnly }) => [keys, validateOnly]),
      [
        [10_000, true],
        [1, true],
        [10_000, false],
        [1, false],
      ],
    );
    const refusing = await startFakeImport(t, { refuses: "row 10000" });
    await ended(refusing.operator.start(["key", "import", path, ...SHA256]), 1);
    assert.deepEqual(
      refusing.calls.map(({ validateOnly }) => validateOnly),
      [true, true],
    );
  });

  it("says how far it came where the service fails, or Ctrl-C ends it", async (t) => {
    const rows = Array.from({ length: 10_001 }, (_, row) => ({
      name: `row ${row}`,
      permissions: ["calls.read"],
      hash: digest(String(row)).toString("hex"),
    }));
    const path = fileOf(t, "keys.jsonl", jsonLines(rows));
    const args = ["key", "import", path, ...SHA256, "--mode", "best-effort"];

    const failing = await startFakeImport(t, { failsAt: "row 10000" });
    const failed = failing.operator.start(args);
    await ended(failed, 1);
    assert.deepEqual(counts(failed.stdout), [10_000, 0, 0, 0]);
    assert.match(failed.stderr, /^latchkey: 10000 rows done\nlatchkey: the service did not answer: /m);
    // Once more, since to import again changes nothing.
    assert.equal(failing.calls.length, 3);

    const hanging = await startFakeImport(t, { hangsAt: "row 10000" });
    const stopped = hanging.operator.start(args);
    await until("the second call is on its way", () => hanging.calls.length === 2);
    stopped.kill("SIGINT");
    await ended(stopped, 130);
    assert.deepEqual(counts(stopped.stdout), [10_000, 0, 0, 0]);
    assert.match(
      stopped.stderr,
      /^latchkey: stopped; what was imported stays, and the same command does the rest$/m,
    );
  });

  it("goes on where nobody reads about it", async (t) => {
    const rows = Array.from({ length: 2_000 }, (_, row) => ({
      name: `unread ${row}`,
      permissions: ["calls.read"],
      hash: digest(`unread ${row}`).toString("hex"),
    }));
    const path = fileOf(t, "keys.jsonl", jsonLines(rows));
    const command = operatorOf(t, service).start(["key", "import", path, ...SHA256, "--json"], {
      readsLines: 1,
    });
    await ended(command, 0);
    assert.equal(linesOf(command.stdout).at(-1), "code 0");
    assert.equal((await namesOf("unread ")).length, 2_000);
    // That nobody reads what was refused does not make it good.
    const bad = fileOf(t, "keys.jsonl", jsonLines([{ ...rows[0], name: "unread, too", hash: "" }]));
    for (const json of [[], ["--json"]]) {
      const refused = operatorOf(t, service).start(["key", "import", bad, ...SHA256, ...json], {
        readsLines: 0,
      });
      await ended(refused, 0);
      assert.equal(refused.stdout, "code 1\n");
    }
  });

  interface FakeOptions {
    /** The name of a row that is refused. */
    readonly refuses?: string;
    /** The name of a row whose call fails. */
    readonly failsAt?: string;
    /** The name of a row whose call is never answered. */
    readonly hangsAt?: string;
  }

  /** A service that imports everything and keeps nothing, for files that take too long otherwise. */
  async function startFakeImport(t: TestContext, { refuses, failsAt, hangsAt }: FakeOptions = {}) {
    const calls: { keys: number; bytes: number; validateOnly: boolean; names: string[] }[] = [];
    const outcomeOf = ({ keys }: ImportApiKeysRequest) =>
      keys.map(({ name }) =>
        name === refuses
          ? { outcome: ImportOutcome.REFUSED, reason: "PERMISSION_UNKNOWN", message: "no" }
          : { outcome: ImportOutcome.IMPORTED },
      );
    const server = createServer(async (request, response) => {
      const body = Buffer.concat(await request.toArray());
      const message = fromBinary(ImportApiKeysRequestSchema, body);
      const names = message.keys.map(({ name }) => name);
      calls.push({ keys: names.length, bytes: body.length, validateOnly: message.validateOnly, names });
      if (hangsAt !== undefined && names.includes(hangsAt)) {
        return;
      }
      if (failsAt !== undefined && names.includes(failsAt)) {
        response.writeHead(503).end();
        return;
      }
      const answer = create(ImportApiKeysResponseSchema, { results: outcomeOf(message) });
      response.writeHead(200, { "content-type": "application/proto" });
      response.end(toBinary(ImportApiKeysResponseSchema, answer));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    cleanup(t).defer(async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { internalKey, organizationId } = service;
    const operator = operatorWith(t, {
      LATCHKEY_URL: url,
      LATCHKEY_CREDENTIAL: internalKey,
      LATCHKEY_ORGANIZATION: organizationId,
    });
    return { calls, operator };
  }
});
