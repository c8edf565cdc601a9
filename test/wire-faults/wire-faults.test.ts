import assert from "node:assert/strict";
import { after, before, mock, test } from "node:test";
import { startService, type TestService } from "../support/service.ts";
import { exchangeHttp1, exchangeHttp2, type RawAnswer } from "./exchange.ts";
import {
  type Answer,
  type CallKind,
  CODES,
  FAULTS,
  type Fault,
  type HttpVersion,
  isAnswer,
  PROTOCOLS,
  type Protocol,
  SECRET,
} from "./faults.ts";
import { kindsOf, type Outcome, outcomeOf, requestOf } from "./spoken.ts";

let service: TestService;
/** What Node has to say, and Connect where it has nobody else to tell. */
const warnings: unknown[] = [];
before(async () => {
  process.on("warning", (warning) => warnings.push(warning));
  mock.method(console, "error", (...said: unknown[]) => warnings.push(said));
  service = await startService();
});
after(async () => {
  await service.stop();
  mock.restoreAll();
});

for (const { title, faults } of FAULTS) {
  for (const fault of faults) {
    test(`${title}: ${fault.fault}`, async (t) => {
      const before = service.logged.length;
      const all = callsOf(fault);
      assert.notEqual(all.length, 0);
      for (const call of all) {
        await t.test(`${call.protocol}, ${call.kind}, HTTP/${call.http}`, async () => {
          const logged = service.logged.length;
          const raw = await exchange(call, fault);
          const outcome = outcomeOf(call.protocol, raw);
          if (call.http === "2" && call.protocol === "gRPC" && call.kind === "unary" && outcome.code) {
            assert.equal(raw.isTrailersOnly, outcome.code !== "ok", "what a client may try again");
          }
          isLoggedAsTold(
            raw,
            service.logged.slice(logged),
            "code" in call.answer && call.answer.code !== "ok",
          );
          assert.deepEqual(told(outcome, call.answer), expected(call.protocol, call.answer), outcome.message);
          leaksNothing(outcome);
          assert.notEqual(outcome.goesOn, false, "the connection serves no other call");
        });
      }
      const bad = service.logged
        .slice(before)
        .filter((line) => JSON.parse(line).level >= 50 || line.includes(SECRET));
      assert.deepEqual([...bad, ...warnings], []);
    });
  }
}

interface Call {
  readonly protocol: Protocol;
  readonly kind: CallKind;
  readonly http: HttpVersion;
  readonly answer: Answer;
}

function callsOf({ answer, kinds, http }: Fault): Call[] {
  return PROTOCOLS.flatMap((protocol) =>
    kindsOf(protocol)
      .filter((kind) => kinds?.includes(kind) ?? true)
      .flatMap((kind) =>
        (["1.1", "2"] as const)
          .filter((version) => http === undefined || http === version)
          // Rows about that say so.
          .filter(
            (version) => http !== undefined || version === "2" || (protocol !== "gRPC" && kind !== "bidi"),
          )
          .flatMap((version) => {
            const own = isAnswer(answer) ? answer : answer[protocol];
            return own === undefined ? [] : [{ protocol, kind, http: version, answer: own }];
          }),
      ),
  );
}

async function exchange({ protocol, kind, http }: Call, { sent }: Fault): Promise<RawAnswer> {
  const request = requestOf(protocol, kind, http, sent, service.apiKey);
  const send = http === "2" ? exchangeHttp2 : exchangeHttp1;
  return await send(service.port, request);
}

function told({ http, code, reset, headers, hasDetails }: Outcome, answer: Answer) {
  const named = Object.keys(("headers" in answer && answer.headers) || {});
  return {
    http,
    code,
    reset,
    hasDetails,
    headers: Object.fromEntries(named.map((name) => [name, headers.get(name)])),
  };
}

function expected(protocol: Protocol, answer: Answer): ReturnType<typeof told> {
  const none = { http: 0, code: undefined, reset: "", hasDetails: false, headers: {} };
  if ("reset" in answer) {
    return { ...none, reset: answer.reset };
  }
  const headers = answer.headers ?? {};
  if (!("code" in answer)) {
    return { ...none, http: answer.http, headers };
  }
  const http = answer.http ?? (protocol === "Connect unary" ? CODES[answer.code].http : 200);
  return { ...none, http, code: answer.code, headers };
}

/** Every call that is answered as one has a line in the log, and its client is told the id that is in it. */
function isLoggedAsTold(
  { headers, trailers, body }: RawAnswer,
  lines: readonly string[],
  isCall: boolean,
): void {
  const ids = lines
    .map((line) => JSON.parse(line) as { requestId?: string })
    .flatMap(({ requestId }) => requestId ?? []);
  if (isCall) {
    assert.equal(ids.length, 1, lines.join("\n"));
  }
  const text = body.toString("latin1");
  const told = [
    ...headers.values(),
    ...trailers.values(),
    text,
    Buffer.from(text, "base64").toString("latin1"),
  ];
  for (const id of ids) {
    assert.ok(
      told.some((part) => part.includes(id)),
      `${id} is not told`,
    );
  }
}

/** Neither what the client sent, nor where our code stands. */
function leaksNothing({ message }: Outcome): void {
  assert.doesNotMatch(message, new RegExp(`${SECRET}|node_modules|\\.[jt]s\\b|/work|\\n`));
  assert.ok(message.length <= 200, message);
}
