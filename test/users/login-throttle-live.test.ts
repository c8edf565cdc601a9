import assert from "node:assert/strict";
import { request } from "node:http";
import { after, before, test } from "node:test";
import { v4 as uuidv4 } from "uuid";
import type { Core } from "../../src/app.ts";
import { AuthError } from "../../src/errors.ts";
import { logIn } from "../../src/users/login.ts";
import { createLoginThrottle, FREE_FAILURES } from "../../src/users/login-throttle.ts";
import { addUser, makePassword, type Password } from "../access/cast.ts";
import { query } from "../support/cluster.ts";
import { startService, type TestService } from "../support/service.ts";

let service: TestService;
let replica: TestService;
let password: Password;
/** How often a password was compared with somebody's, by both replicas. */
let guesses = 0;

before(async () => {
  service = await startService({ wrapCore: countGuesses });
  replica = await startService({ beside: service, wrapCore: countGuesses });
  password = await makePassword(service.core);
});
after(async () => {
  await replica.stop();
  await service.stop();
});

function countGuesses(core: Core): Core {
  const { passwordHasher } = core;
  return {
    ...core,
    passwordHasher: {
      ...passwordHasher,
      verify: (text, stored) =>
        passwordHasher.verify(text, async () => {
          const hash = typeof stored === "function" ? await stored() : stored;
          guesses += typeof hash === "string" ? 1 : 0;
          return hash;
        }),
    },
  };
}

const add = async () =>
  (await addUser(service.core, { organizationId: service.organizationId, role: "member", password })).email;

interface Said {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly body: string;
}

/** Calls from an address of one's own: on Linux every one of 127.0.0.0/8 is. */
function post(to: TestService, from: string, method: string, message: object): Promise<Said> {
  return new Promise((resolve, reject) => {
    const call = request(`${to.url}/latchkey.v1.${method}`, {
      method: "POST",
      agent: false,
      localAddress: from,
      headers: { "content-type": "application/json", "x-request-id": "same" },
    });
    call.on("error", reject).on("response", (response) => {
      const { statusCode: status = 0, headers } = response;
      let body = "";
      response.setEncoding("utf8").on("data", (piece: string) => {
        body += piece;
      });
      response.on("end", () => resolve({ status, retryAfter: headers["retry-after"], body }));
    });
    call.end(JSON.stringify(message));
  });
}

const issue = (to: TestService, from: string, email: string, text = password.text) =>
  post(to, from, "TokenService/IssueToken", { password: { email, password: text } });

const change = (to: TestService, from: string, email: string, text = password.text) =>
  post(to, from, "UserService/ChangePassword", {
    email,
    currentPassword: text,
    newPassword: "a password that is long enough",
  });

test("of 200 wrong passwords at once, from many places and over two replicas, ten are tried", async () => {
  const email = await add();
  assert.equal((await issue(service, "127.0.0.200", email)).status, 200);
  guesses = 0;
  const asked = Array.from({ length: 200 }, (_, at) =>
    issue(at % 2 === 0 ? service : replica, `127.0.1.${at % 20}`, email, `wrong ${at}`),
  );
  const answers = new Set((await Promise.all(asked)).map(({ status, body }) => `${status} ${body}`));
  assert.equal(answers.size, 1);
  assert.match([...answers].join(), /^401 .*LOGIN_FAILED|^401 .*Email or password is wrong/);
  assert.equal(guesses, FREE_FAILURES);

  // Not even the right one is, from elsewhere, on either replica; but where its owner has been before.
  for (const each of [service, replica]) {
    assert.equal((await issue(each, "127.0.1.1", email)).status, 401);
    assert.equal((await issue(each, "127.0.0.201", email)).status, 401);
  }
  assert.equal(guesses, FREE_FAILURES);
  assert.equal((await issue(replica, "127.0.0.200", email)).status, 200);
});

test("to log in and to change the password are counted together, on whatever replica", async () => {
  const email = await add();
  guesses = 0;
  for (let at = 0; at < FREE_FAILURES; at++) {
    const call = at % 2 === 0 ? issue : change;
    const to = at % 3 === 0 ? service : replica;
    assert.equal((await call(to, "127.0.0.10", email, "wrong")).status, 401);
  }
  assert.equal((await issue(service, "127.0.0.10", email)).status, 401);
  assert.equal((await change(replica, "127.0.0.10", email)).status, 401);
  assert.equal(guesses, FREE_FAILURES);
});

test("a change of the password is a success like a login: it resets the count, and its source is known", async () => {
  const email = await add();
  for (let at = 0; at < FREE_FAILURES - 1; at++) {
    await issue(service, "127.0.0.20", email, "wrong");
  }
  assert.equal((await change(replica, "127.0.0.20", email)).status, 200);
  for (let at = 0; at < FREE_FAILURES; at++) {
    await issue(service, "127.0.0.21", email, "wrong");
  }
  assert.equal((await issue(service, "127.0.0.21", email, "a password that is long enough")).status, 401);
  assert.equal((await issue(service, "127.0.0.20", email, "a password that is long enough")).status, 200);
});

test("what a header says of the client's address makes no other source of it", async () => {
  const limited = await startService({ beside: service, loginSourceLimit: 3 });
  try {
    const call = (at: number) =>
      fetch(`${limited.url}/latchkey.v1.TokenService/IssueToken`, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          "x-forwarded-for": `192.0.2.${at}`,
          forwarded: `for=192.0.2.${at}`,
          "x-real-ip": `192.0.2.${at}`,
        },
        body: JSON.stringify({ password: { email: `${uuidv4()}@people.test`, password: "wrong" } }),
      });
    const statuses: number[] = [];
    for (const at of [1, 2, 3, 4]) {
      statuses.push((await call(at)).status);
    }
    assert.deepEqual(statuses, [401, 401, 401, 429]);
  } finally {
    await limited.stop();
  }
});

test("a source with too many failures is answered 429 with Retry-After by every method, and no other is", async () => {
  const limited = await startService({ beside: service, loginSourceLimit: 4 });
  const email = await add();
  try {
    for (const call of [issue, change, issue, change]) {
      assert.equal((await call(limited, "127.0.0.30", `${uuidv4()}@people.test`, "wrong")).status, 401);
    }
    for (const call of [issue, change]) {
      const { status, retryAfter, body } = await call(limited, "127.0.0.30", email);
      assert.equal(status, 429);
      assert.match(body, /"resource_exhausted"/);
      assert.match(body, /google\.rpc\.RetryInfo/);
      const seconds = Number(retryAfter);
      assert.ok(seconds > 800 && seconds <= 900, retryAfter);
    }
    assert.equal((await issue(limited, "127.0.0.31", email)).status, 200);
  } finally {
    await limited.stop();
  }
});

test("attempts that succeed, fail and end at once never stand in each other's way", async () => {
  const emails = await Promise.all(Array.from({ length: 4 }, add));
  const partsOf = ({ core }: TestService) => ({
    storage: core.storage,
    // Without the time that hashing takes, the database is all that there is to wait for.
    passwordHasher: {
      ...core.passwordHasher,
      verify: async (text: string, stored: unknown) =>
        (typeof stored === "function" ? await stored() : stored) !== undefined && text === "right",
    },
    loginThrottle: createLoginThrottle({
      storage: core.storage,
      key: core.keyHasher.deriveKey("login throttle"),
      sourceLimit: 50,
    }),
  });
  const replicas = [partsOf(service), partsOf(replica)];
  let isOver = false;
  const ending = (async () => {
    while (!isOver) {
      await query(
        service.connection,
        `update login_counters set failure_time = failure_time - interval '1 day', expire_time = now()
         where (account, source) in (select account, source from login_counters for update skip locked)`,
      );
      await query(
        service.connection,
        `update login_sources set expire_time = now()
         where source in (select source from login_sources for update skip locked)`,
      );
    }
  })();
  const outcomes = new Map<string, number>();
  const attempt = async (at: number) => {
    const parts = replicas[at % 2] ?? assert.fail();
    const email = (at % 7 === 0 ? undefined : emails[at % 5]) ?? `${uuidv4()}@people.test`;
    const outcome = await logIn(parts, {
      email,
      password: at % 3 === 0 ? "right" : "wrong",
      peerAddress: `192.0.2.${at % 13}`,
    }).then(
      () => "in",
      (error: unknown) => (error instanceof AuthError ? error.reason : String(error)),
    );
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  };
  try {
    for (let round = 0; round < 40; round++) {
      await Promise.all(Array.from({ length: 40 }, (_, at) => attempt(round * 40 + at)));
    }
  } finally {
    isOver = true;
    await ending;
  }
  assert.ok((outcomes.get("in") ?? 0) > 100, JSON.stringify([...outcomes]));
  const unforeseen = [...outcomes.keys()].filter(
    (name) => !["in", "LOGIN_FAILED", "LOGIN_THROTTLED"].includes(name),
  );
  assert.deepEqual(unforeseen, []);
});
