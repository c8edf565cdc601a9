import assert from "node:assert/strict";
import { availableParallelism } from "node:os";
import { test } from "node:test";
import fc from "fast-check";
import { type Command, ConfigError, readConfig, SETTINGS, set } from "../src/config.ts";

const COMMANDS: readonly Command[] = ["dev", "serve", "migrate", "bootstrap", "rekey", "client"];
const KEY = Buffer.alloc(32, 7).toString("base64");

/** What every command runs with. */
const GOOD = {
  DATABASE_URL: "postgres://latchkey:canary@db.test:5432/latchkey",
  LATCHKEY_ENCRYPTION_KEY: KEY,
  LATCHKEY_PUBLIC_URL: "https://auth.test",
};

function faultsOf(env: NodeJS.ProcessEnv, command: Command = "serve"): readonly string[] {
  try {
    readConfig(env, command);
    return [];
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    assert.equal(error.message, error.faults.join("\n"));
    return error.faults;
  }
}

const variables = Object.values(SETTINGS).map(({ variable }) => variable);

test("every fault is told at once, each with the variable and what to write", () => {
  const takesAnything = ["LATCHKEY_HOST", "LATCHKEY_DATA_DIR", "LATCHKEY_CALLER_KEY"];
  const strict = variables.filter(
    (variable) => !takesAnything.includes(variable) && !variable.endsWith("_FILE"),
  );
  const bad = Object.fromEntries(strict.map((variable) => [variable, "\0"]));
  const faults = faultsOf({ ...bad, LATCHKEY_MISSPELT: "1", LATCHKEY_PROT: "8080" });
  assert.deepEqual(
    new Set(faults.map((fault) => fault.split(" ")[0])),
    new Set([...strict, "LATCHKEY_MISSPELT", "LATCHKEY_PROT"]),
  );
});

test("what a command needs and is not set is told, for all of them at once", () => {
  const needed: Record<Command, string[]> = {
    dev: [],
    serve: ["DATABASE_URL", "LATCHKEY_ENCRYPTION_KEY", "LATCHKEY_PUBLIC_URL"],
    migrate: ["DATABASE_URL"],
    bootstrap: ["DATABASE_URL", "LATCHKEY_ENCRYPTION_KEY"],
    rekey: ["DATABASE_URL", "LATCHKEY_ENCRYPTION_KEY"],
    client: [],
  };
  for (const command of COMMANDS) {
    const faults = faultsOf({}, command);
    assert.deepEqual(
      faults.map((fault) => fault.split(" ")[0]),
      needed[command],
      command,
    );
    assert.ok(faults.every((fault) => fault.includes("is not set; it is needed: ")));
    assert.deepEqual(faultsOf(GOOD, command), []);
  }
});

test("a variable of ours that is not a setting is a fault, for every command; anybody else's is not", () => {
  for (const command of COMMANDS) {
    for (const name of [
      "LATCHKEY_",
      "LATCHKEY_CALLER",
      "LATCHKEY_CALLERS_",
      "LATCHKEY_PORT ",
      "LATCHKEY_port",
    ]) {
      const faults = faultsOf({ ...GOOD, [name]: "any" }, command);
      assert.deepEqual(faults, [`${name} is not a setting of Latchkey; check its spelling`]);
    }
    assert.deepEqual(faultsOf({ ...GOOD, LATCHKEYS: "1", PORT: "x", latchkey_port: "x" }, command), []);
  }
});

test("no fault repeats the value: it may be a secret", () => {
  const values = fc.oneof(
    fc.string({ minLength: 6 }),
    fc.constantFrom(
      "postgres://u:canary-password@h",
      "postgres://u:canary-password@[::1/db",
      "mysql://u:canary-password@h/db",
      "https://u:canary-password@auth.test",
      "canary-password-as-a-key",
      `${KEY}canary`,
      "sk_canary",
    ),
  );
  fc.assert(
    fc.property(fc.constantFrom(...variables), values, (variable, value) => {
      for (const fault of faultsOf({ ...GOOD, [variable]: value })) {
        const said = fault.replace(variable, "");
        assert.ok(!said.includes("canary") && !said.includes(value), fault);
      }
    }),
    { numRuns: 2_000 },
  );
});

test("what is not set is what the command begins with", () => {
  const defaults = (command: Command) => {
    const {
      databaseUrl: _,
      encryptionKey: __,
      ...config
    } = readConfig(command === "dev" ? {} : GOOD, command);
    return config;
  };
  const common = {
    audience: undefined,
    corsOrigins: undefined,
    leanTransport: "on",
    port: 8080,
    apiKeyPrefix: "ak",
    apiKeyOldPrefixes: undefined,
    passwordMinimumLength: 15,
    drainSeconds: 20,
    logLevel: "info",
    dataDirectory: ".latchkey",
    url: "http://127.0.0.1:8080",
    callerKey: undefined,
  };
  const known = (config: object) =>
    Object.fromEntries(
      Object.entries(config).filter(([name]) => name in { ...common, host: 0, callers: 0, publicUrl: 0 }),
    );
  assert.deepEqual(known(defaults("dev")), {
    ...common,
    host: "127.0.0.1",
    // By whether the address is this machine's only.
    callers: undefined,
    publicUrl: undefined,
  });
  assert.deepEqual(known(defaults("serve")), {
    ...common,
    host: "0.0.0.0",
    callers: "authenticated",
    publicUrl: "https://auth.test",
  });
});

test("production has no default for what keeps it safe", () => {
  const { databaseUrl, encryptionKey, publicUrl } = SETTINGS;
  for (const { variable, initial } of [databaseUrl, encryptionKey, publicUrl]) {
    assert.equal(initial, undefined, variable);
    assert.equal(faultsOf({ ...GOOD, [variable]: undefined }).length, 1, variable);
  }
});

test("a setting that means nothing without another is a fault alone", () => {
  for (const { variable, goesWith } of Object.values<{ variable: string; goesWith?: string }>(SETTINGS)) {
    if (goesWith !== undefined) {
      const value = variable.endsWith("_FILE") ? "/a/file" : "required";
      const faults = faultsOf({ ...GOOD, [variable]: value });
      assert.ok(
        faults.some((fault) => fault.startsWith(variable) && fault.includes(goesWith)),
        variable,
      );
    }
  }
});

/** What each setting takes, and what it does not. */
const CASES: Record<string, { takes: string[]; refuses: string[] }> = {
  DATABASE_URL: {
    takes: ["postgres://u:p@h:5432/d", "postgresql://h/d", "postgres://u@/d?host=%2Fsocket"],
    refuses: ["", "h/d", "mysql://h/d", "postgres://h", "postgres://h/", "postgres://u:p@h:x/d"],
  },
  LATCHKEY_ENCRYPTION_KEY: {
    takes: [KEY],
    refuses: [
      "",
      KEY.slice(1),
      `${KEY}\n`,
      ` ${KEY}`,
      KEY.replace("=", ""),
      KEY.slice(0, -4),
      `${KEY}${KEY}`,
      "0".repeat(64),
    ],
  },
  LATCHKEY_PUBLIC_URL: {
    takes: ["https://auth.test", "http://127.0.0.1:8080", "https://auth.test/latchkey"],
    refuses: [
      "",
      "auth.test",
      "https://auth.test/",
      "ftp://a",
      "https://u:p@a",
      "https://a?x=1",
      "https://a#x",
      "javascript:1",
    ],
  },
  LATCHKEY_PORT: {
    takes: ["1", "8080", "65535"],
    refuses: ["", "0", "65536", "-1", "8080.0", "1e3", " 80", "0x50", "80a"],
  },
  LATCHKEY_CALLERS: { takes: ["any", "authenticated"], refuses: ["", "Any", "none", "any ", "true"] },
  LATCHKEY_API_KEY_PREFIX: {
    takes: ["ak", "a", "latchkey", "a234567890123456"],
    refuses: ["", "sk", "AK", "a_b", "1a", "a-b", "a2345678901234567", "\u00e9"],
  },
  LATCHKEY_API_KEY_OLD_PREFIXES: {
    takes: ["old", "old, older"],
    refuses: ["", "old,", "old,sk", "old older"],
  },
  LATCHKEY_PASSWORD_MIN_LENGTH: { takes: ["8", "15", "64"], refuses: ["", "7", "65", "0", "-8", "fifteen"] },
  LATCHKEY_DRAIN_SECONDS: { takes: ["0", "300"], refuses: ["", "-1", "301", "1.5"] },
  LATCHKEY_LOG_LEVEL: { takes: ["trace", "fatal"], refuses: ["", "verbose", "silent", "INFO"] },
  LATCHKEY_CREDENTIAL: {
    takes: ["sk_x", "ak_test_x", "eyJ.e.e", "x".repeat(4096)],
    refuses: ["", "sk x", "sk_x\n", "sk_\u00e9", "x".repeat(4097)],
  },
  LATCHKEY_ORGANIZATION: {
    takes: ["019a20ce-4b1c-75aa-8887-32c29f795e32", "019A20CE-4B1C-75AA-8887-32C29F795E32"],
    refuses: ["", "acme", "019a20ce4b1c75aa888732c29f795e32", "019a20ce-4b1c-75aa-8887-32c29f795e32 "],
  },
  LATCHKEY_AUDIENCE: {
    takes: ["a", "https://auth.test", "x".repeat(255)],
    refuses: ["", "a b", "a\n", "x".repeat(256), "\u00e9"],
  },
};

for (const [variable, { takes, refuses }] of Object.entries(CASES)) {
  test(`${variable} takes what it documents, and nothing like it`, () => {
    for (const value of takes) {
      assert.deepEqual(faultsOf({ ...GOOD, [variable]: value }), [], value);
    }
    for (const value of refuses) {
      const faults = faultsOf({ ...GOOD, [variable]: value });
      assert.equal(faults.length, 1, `${variable} takes ${JSON.stringify(value)}`);
      assert.ok(faults[0]?.startsWith(`${variable} `));
    }
  });
}

test("each value is what was written, in the type that it is used in", () => {
  const config = readConfig(
    {
      ...GOOD,
      LATCHKEY_PORT: "9000",
      LATCHKEY_API_KEY_OLD_PREFIXES: "old , older",
      LATCHKEY_AUDIENCE: "billing",
    },
    "serve",
  );
  assert.deepEqual(set(config.encryptionKey), Buffer.alloc(32, 7));
  assert.equal(config.port, 9000);
  assert.deepEqual(config.apiKeyOldPrefixes, ["old", "older"]);
  assert.equal(config.audience, "billing");
  const { host, port, user, password, database } = set(config.databaseUrl);
  assert.deepEqual(
    { host, port: Number(port), user, password, database },
    { host: "db.test", port: 5432, user: "latchkey", password: "canary", database: "latchkey" },
  );
});

test("a setting that is read where it was not required is a mistake of ours, not a silent nothing", () => {
  assert.throws(() => set(readConfig({}, "dev").databaseUrl));
  assert.equal(set(readConfig({}, "dev").port), 8080);
});

test("every setting says what it does and how it is written, under a name that is its own", () => {
  for (const [name, { variable, about, form }] of Object.entries(SETTINGS)) {
    assert.match(variable, /^(LATCHKEY_[A-Z_]+|DATABASE_URL)$/, name);
    assert.ok(about.length > 10 && form.length > 3, name);
  }
  assert.equal(new Set(variables).size, variables.length);
});

test("workers are a number, or as many as there are cores", () => {
  const read = (value: string) => readConfig({ ...GOOD, LATCHKEY_WORKERS: value }, "serve").workers;
  assert.deepEqual(["1", "256", "auto"].map(read), [1, 256, availableParallelism()]);
  for (const wrong of ["0", "257", "-1", "1.5", "AUTO", ""]) {
    assert.equal(faultsOf({ ...GOOD, LATCHKEY_WORKERS: wrong }).length, 1, wrong);
  }
  assert.equal(readConfig(GOOD, "serve").workers, 1);
});
