import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import fc from "fast-check";
import { RequestInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { Health } from "../../src/grpc-health/gen/grpc/health/v1/health_pb.ts";
import { createLog, describeError, redact } from "../../src/server/log.ts";
import { requestIdOf } from "../../src/server/request-id.ts";
import {
  AuthenticationService,
  startService,
  type TestService,
  transportTo,
  WIRES,
} from "../support/service.ts";
import { until } from "../support/until.ts";

let service: TestService;
before(async () => {
  service = await startService();
});
after(() => service.stop());

interface LogLine {
  level: number;
  requestId: string;
  method: string;
  code: string;
  reason?: string;
  milliseconds: number;
  principal?: string;
  subject?: string;
}

const linesOf = (requestId: string): LogLine[] =>
  service.logged.map((line) => JSON.parse(line) as LogLine).filter((line) => line.requestId === requestId);

const ask = (value: string) => ({ headers: [{ name: "X-API-Key", value }] });

for (const { protocol, http } of WIRES) {
  describe(`${protocol} over HTTP/${http}`, () => {
    const id = (what: string) => `${what}-${protocol.replace(" ", "-")}-${http}`;
    const client = () => createClient(AuthenticationService, transportTo(service.url, protocol, http));

    test("a call has one line in the log, and its id goes back to the caller", async () => {
      const requestId = id("answered");
      let told: string | null = null;
      const answer = await client().authenticate(ask(service.apiKey), {
        headers: { "x-request-id": requestId },
        onHeader: (headers) => {
          told = headers.get("x-request-id");
        },
      });
      assert.equal(told, requestId);
      const [line, ...more] = linesOf(requestId);
      assert.deepEqual(more, []);
      assert.equal(line?.method, "latchkey.v1.AuthenticationService/Authenticate");
      assert.equal(line?.code, "Ok");
      assert.equal(line?.subject, answer.principal?.id);
      assert.ok((line?.milliseconds ?? -1) >= 0);
    });

    test("a refusal tells its id, and its line tells the reason", async () => {
      const requestId = id("refused");
      const call = client().authenticate(ask("ak_nonsense"), { headers: { "x-request-id": requestId } });
      const error = await call.then(
        () => assert.fail("it was answered"),
        (thrown: unknown) => ConnectError.from(thrown),
      );
      assert.equal(error.findDetails(RequestInfoSchema)[0]?.requestId, requestId);
      assert.equal(error.metadata.get("x-request-id"), requestId);
      const [line, ...more] = linesOf(requestId);
      assert.deepEqual(more, []);
      assert.equal(line?.code, Code[Code.Unauthenticated]);
      assert.equal(line?.reason, "API_KEY_INVALID");
    });
  });
}

test("the line of a management call names its principal", async () => {
  const requestId = "who-am-i";
  const answer = await service
    .client(AuthenticationService, { "x-api-key": service.apiKey, "x-request-id": requestId })
    .whoAmI({});
  assert.equal(linesOf(requestId)[0]?.principal, answer.principal?.id);
});

test("a stream is one line, when it ends", async () => {
  const requestId = "watch";
  const health = createClient(Health, transportTo(service.url, "grpc", "2"));
  const stop = new AbortController();
  const watch = health.watch({}, { headers: { "x-request-id": requestId }, signal: stop.signal });
  const first = await watch[Symbol.asyncIterator]().next();
  assert.equal(first.done, false);
  assert.deepEqual(linesOf(requestId), []);
  stop.abort();
  await until("the line", () => linesOf(requestId).length === 1);
  assert.equal(linesOf(requestId)[0]?.code, "Canceled");
});

describe("the id of a call", () => {
  const header = (name: string, value: string) => ({ name, value });
  const trace = "0af7651916cd43dd8448eb211c80319c";

  test("is the caller's own where that is one short word, whatever its header's case", () => {
    assert.equal(requestIdOf([header("X-Request-ID", "abc-1.2_3")]), "abc-1.2_3");
  });

  test("is the trace's where there is no other", () => {
    assert.equal(requestIdOf([header("traceparent", `00-${trace}-b7ad6b7169203331-01`)]), trace);
  });

  test("is never what could forge a line, nor one of two", () => {
    const forged = fc.oneof(
      fc.string({ unit: "binary" }).filter((text) => !/^[A-Za-z0-9._-]{1,128}$/.test(text)),
      fc.constantFrom("a\r\nb", "a b", "\u001b[31m", "", "x".repeat(129)),
    );
    fc.assert(
      fc.property(forged, (value) => {
        const made = requestIdOf([header("x-request-id", value), header("traceparent", value)]);
        assert.match(made, /^[0-9a-f]{8}-[0-9a-f-]{27}$/);
      }),
    );
    const noTrace = `00-${"0".repeat(32)}-b7ad6b7169203331-01`;
    assert.match(requestIdOf([header("traceparent", noTrace)]), /^[0-9a-f]{8}-[0-9a-f-]{27}$/);
    assert.match(requestIdOf([header("x-request-id", "a"), header("x-request-id", "b")]), /^[0-9a-f-]{36}$/);
  });
});

describe("the log", () => {
  test("shows control characters, colours and direction marks as codes, on one line", () => {
    const hostile = "a\r\nb\u001b[31mc\u0000d\u202ee\u009bf";
    const shown = redact(hostile);
    assert.equal(shown, "a\\u{d}\\u{a}b\\u{1b}[31mc\\u{0}d\\u{202e}e\\u{9b}f");
    const lines: string[] = [];
    createLog("info", { write: (line: string) => lines.push(line) }).error({ err: new Error(hostile) }, "x");
    assert.equal(lines.length, 1);
    assert.equal(lines[0]?.trimEnd().includes("\n"), false);
  });

  test("shows no secret that an error quotes", () => {
    const secrets = [service.apiKey, service.internalKey, "postgres://me:hunter2@db/x"];
    for (const secret of secrets) {
      const { message } = describeError(new Error(`cannot use ${secret}`, {}));
      assert.equal(String(message).includes(secret), false);
      assert.equal(String(message).includes("hunter2"), false);
    }
  });

  test("of an error that another caused tells the cause", () => {
    const cause = Object.assign(new Error("the server closed the connection"), { code: "57P01" });
    const { message, code } = describeError(new Error("insert into users values ('secret')", { cause }));
    assert.deepEqual({ message, code }, { message: "the server closed the connection", code: "57P01" });
  });
});
