import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { type DescMessage, fromJson, type JsonObject, type JsonValue, toBinary } from "@bufbuild/protobuf";
import { startService, WIRES } from "../support/service.ts";
import { asValues } from "./bad-calls.ts";
import { leavesOf, put, valueAt } from "./leaves.ts";
import { goodCalls } from "./methods.ts";
import { assertOutcomes, type Row } from "./outcomes.ts";
import { callHttp1, type Field } from "./raw-call.ts";
import { refusals } from "./refusals.ts";
import { type Message, sendBody, type Wire } from "./send-body.ts";

const service = await startService();
after(() => service.stop());
const { assertRefused } = await refusals(service);
const calls = await goodCalls(service);

const MIB = 1024 * 1024;
const wireName = ({ protocol, http }: Wire) => `${protocol} over HTTP/${http}`;

const JSON_WIRE: Wire = { protocol: "connect json", http: "1.1" };
const BINARY_WIRE: Wire = { protocol: "connect proto", http: "1.1" };

interface Sent extends Row {
  readonly wire: Wire;
  readonly path: string;
  readonly credential: readonly Field[];
  readonly message: Message;
}
const send = ({ wire, path, credential, message }: Sent) =>
  sendBody(service.port, wire, path, credential, message);

/** Bytes that are no message of protobuf, whatever the message. */
const NO_PROTOBUF: Readonly<Record<string, readonly number[]>> = {
  "a tag without a value": [0x0a],
  "a length past the end": [0x0a, 0x10, 0x41],
  "a length past the end, of an unknown field": [0xa2, 0x7d, 0x05, 0x41],
  "a length that wraps around": [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
  "a tag without an end": Array(20).fill(0xff),
  "a varint without an end": [0xa0, 0x7d, ...Array(20).fill(0xff)],
  "a fixed number cut short": [0xa5, 0x7d, 0x01],
  "the field 0": [0x02, 0x00],
  "the wire type 6": [0x0e],
  "the wire type 7": [0x0f],
  "a group that ends and did not begin": [0x54],
  "a group that begins and does not end": [0x53],
  "groups deeper than any message": [...Array(20_000).fill(0x53), ...Array(20_000).fill(0x54)],
  "groups deeper than any message, without an end": Array(40_000).fill(0x53),
  text: [...Buffer.from('{"name":"x"}')],
};

/** Bytes that are no JSON object, whatever the message. */
const NO_JSON: Readonly<Record<string, string | Buffer>> = {
  nothing: "",
  "an open object": "{",
  "an open text": '{"',
  "a text": '"x"',
  "a number": "5",
  "a truth": "true",
  null: "null",
  "a list": "[]",
  "a list with an object": "[{}]",
  "two objects": "{}{}",
  "a word after it": "{} x",
  "a comma after a member": '{"a":1,}',
  "a comment": "{} // x",
  "names in single quotes": "{'a':1}",
  "a bare name": "{a:1}",
  "not a number": '{"a":NaN}',
  "deep lists": "[".repeat(30_000),
  "deep lists that end": "[".repeat(30_000) + "]".repeat(30_000),
  "deep objects": '{"a":'.repeat(10_000),
  "UTF-16": Buffer.from("{}", "utf16le"),
  binary: Buffer.from([0, 1, 2, 3]),
};

describe("bytes that are no message are the caller's fault, and are never let through to a method", () => {
  for (const { name: call, path, credential } of calls) {
    test(`${call} in binary`, () =>
      assertRefused(
        Object.entries(NO_PROTOBUF).map(([name, bytes]): Sent => {
          const message = { bytes: Buffer.from(bytes) };
          return { name, wire: BINARY_WIRE, path, credential, message, outcome: "invalid_argument" };
        }),
        send,
      ));

    test(`${call} in JSON`, () =>
      assertRefused(
        Object.entries(NO_JSON).map(([name, text]): Sent => {
          const message = { bytes: Buffer.from(text) };
          return { name, wire: JSON_WIRE, path, credential, message, outcome: "invalid_argument" };
        }),
        send,
      ));
  }

  const { path = "", credential = [] } =
    calls.find(({ method }) => method.name === "CreateOrganization") ?? {};
  for (const wire of WIRES) {
    test(wireName(wire), () => {
      const isJson = wire.protocol === "connect json";
      return assertRefused(
        Object.entries<string | Buffer | readonly number[]>(isJson ? NO_JSON : NO_PROTOBUF).map(
          ([name, bytes]): Sent => {
            const message = { bytes: Buffer.from(bytes as Buffer) };
            return { name, wire, path, credential, message, outcome: "invalid_argument" };
          },
        ),
        send,
      );
    });
  }
});

/** Every message within a body, with the way to put another in its place. A map is none: it says what it likes. */
function* messagesIn(
  message: DescMessage,
  body: JsonValue,
  replace: (other: string) => string,
  path = "the message",
): Generator<readonly [string, (member: string) => string]> {
  if (Array.isArray(body)) {
    for (const [at, value] of body.entries()) {
      const others = body.map((other) => JSON.stringify(other));
      yield* messagesIn(message, value, (text) => replace(`[${others.with(at, text)}]`), `${path}[${at}]`);
    }
    return;
  }
  const members = Object.entries(body as JsonObject);
  const write = (entries: readonly string[]) => `{${entries}}`;
  const texts = members.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
  yield [path, (member) => replace(write([...texts, member]))];
  for (const [at, [name, value]] of members.entries()) {
    const field = message.fields.find(({ jsonName }) => jsonName === name);
    if (field?.message?.typeName.startsWith("latchkey.") && field.fieldKind !== "map") {
      const replaceValue = (text: string) =>
        replace(write(texts.with(at, `${JSON.stringify(name)}:${text}`)));
      yield* messagesIn(field.message, value, replaceValue, `${path}.${name}`);
    }
  }
}

describe("JSON says only what the message has, and says it once", () => {
  const MEMBERS = [
    "__proto__",
    "constructor",
    "prototype",
    "toString",
    "hasOwnProperty",
    "__defineGetter__",
    "then",
    "toJSON",
    "$ne",
    "$or",
    "$raw",
    "nmae",
    "ID",
    "",
    "[latchkey.v1.access]",
    "@type",
    "unknown_field",
    "\\u0000",
    "0",
  ].flatMap((name) => [`"${name}":{"isAdmin":true}`, `"${name}":null`, `"${name}":"x"`]);

  for (const { name: call, method, path, credential, body } of calls) {
    test(`${call}: a member that it does not know is refused, wherever it stands`, () => {
      const rows = [...messagesIn(method.input, body, (text) => text)].flatMap(([place, withMember]) =>
        MEMBERS.map((member): Sent => {
          const message = { bytes: Buffer.from(withMember(member)) };
          return {
            name: `${member} in ${place}`,
            wire: JSON_WIRE,
            path,
            credential,
            message,
            outcome: "invalid_argument",
          };
        }),
      );
      return assertRefused(rows, send);
    });

    const [first] = Object.keys(body);
    const field = method.input.fields.find(({ jsonName }) => jsonName === first);
    if (field !== undefined) {
      test(`${call}: a member that comes twice is refused, in any spelling of its name`, () => {
        const value = JSON.stringify(body[field.jsonName]);
        const escaped = `\\u${field.jsonName.charCodeAt(0).toString(16).padStart(4, "0")}${field.jsonName.slice(1)}`;
        const rows = [field.jsonName, field.name, escaped].map((name): Sent => {
          const json = `{"${field.jsonName}":${value},"${name}":${value}}`;
          const message = { bytes: Buffer.from(json) };
          return { name: json, wire: JSON_WIRE, path, credential, message, outcome: "invalid_argument" };
        });
        return assertRefused(
          rows.filter(({ name }, at, all) => all.findIndex((row) => row.name === name) === at),
          send,
        );
      });
    }

    const maps = [...leavesOf(method.input)].filter(
      ({ kind, path: to }) => kind === "map" && valueAt(body, to) !== undefined,
    );
    for (const { path: to } of maps) {
      test(`${call}: a name that comes twice in ${to.join(".")} is refused`, () => {
        const rows = ['"a":"x","a":"y"', '"a":"x","a":"x"', '"a":"x","\\u0061":"y"'].map((twice): Sent => {
          const mark = "a mark";
          const json = JSON.stringify(put(body, to, mark)).replace(`"${mark}"`, () => `{${twice}}`);
          const message = { bytes: Buffer.from(json) };
          return { name: twice, wire: JSON_WIRE, path, credential, message, outcome: "invalid_argument" };
        });
        return assertRefused(rows, send);
      });
    }
  }

  test("leaves the prototype of all objects as it was", () => {
    assert.deepEqual(Object.keys(Object.prototype), []);
    assert.equal("isAdmin" in {}, false);
  });
});

/** Bytes that are not UTF-8: RFC 3629. */
const NO_UTF8: Readonly<Record<string, readonly number[]>> = {
  "a continuation alone": [0x80],
  "a character cut short": [0xe2, 0x82],
  "a slash written long": [0xc0, 0xaf],
  "a NUL written long": [0xc0, 0x80],
  "half of a surrogate pair": [0xed, 0xa0, 0x80],
  "past the last character": [0xf4, 0x90, 0x80, 0x80],
  "a byte that is never used": [0xff],
};

describe("a text that is not UTF-8 is refused", () => {
  const mark = "#";
  const markBytes = Buffer.from(mark);
  const withBytes = (text: Buffer, bytes: readonly number[]) => {
    const at = text.indexOf(markBytes);
    return Buffer.concat([text.subarray(0, at), Buffer.from(bytes), text.subarray(at + bytes.length)]);
  };
  for (const { name: call, method, path, credential, body } of calls) {
    const texts = [...leavesOf(method.input)].filter(({ path: to }) => valueAt(body, to) !== undefined);
    const rows = (wire: Wire) =>
      texts.flatMap((leaf) =>
        Object.entries(NO_UTF8).flatMap(([what, bytes]) =>
          asValues(leaf, mark.repeat(bytes.length)).map((value, at): Sent => {
            const marked = put(body, leaf.path, value);
            const text =
              wire === JSON_WIRE
                ? Buffer.from(JSON.stringify(marked))
                : Buffer.from(toBinary(method.input, fromJson(method.input, marked)));
            const name = `${leaf.path.join(".")} ${at} in ${wire.protocol}: ${what}`;
            const message = { bytes: withBytes(text, bytes) };
            return { name, wire, path, credential, message, outcome: "invalid_argument" };
          }),
        ),
      );
    const all = [...rows(JSON_WIRE), ...rows(BINARY_WIRE)];
    if (all.length > 0) {
      test(call, () => assertRefused(all, send));
    }
  }
});

describe("a message is at most 64 KiB, on the wire and out of its compression", () => {
  const authenticate = calls.find(({ method }) => method.name === "Authenticate") ?? assert.fail();
  const { method, path, body } = authenticate;
  const good = {
    json: Buffer.from(JSON.stringify(body)),
    binary: Buffer.from(toBinary(method.input, fromJson(method.input, body))),
  };
  /** The same message in as many bytes: JSON may be followed by spaces, protobuf by a field that is unknown. */
  const padded = (wire: Wire, length: number) => {
    if (wire.protocol === "connect json") {
      return Buffer.concat([good.json, Buffer.alloc(length - good.json.length, " ")]);
    }
    const left = length - good.binary.length - 2;
    const size = [left - 3].flatMap((rest) => [(rest & 127) | 128, ((rest >> 7) & 127) | 128, rest >> 14]);
    return Buffer.concat([good.binary, Buffer.of(0xa2, 0x7d, ...size), Buffer.alloc(left - 3)]);
  };
  const LIMIT = 64 * 1024;

  for (const wire of WIRES) {
    test(wireName(wire), () => {
      const sized = [
        { name: "as it is", length: 2_000, outcome: "ok" },
        { name: "64 KiB", length: LIMIT, outcome: "ok" },
        { name: "64 KiB and a byte", length: LIMIT + 1, outcome: "resource_exhausted" },
        { name: "1 MiB", length: MIB, outcome: "resource_exhausted" },
      ];
      const rows = [
        ...sized.flatMap(({ name, length, outcome }): Sent[] => {
          const bytes = padded(wire, length);
          const row = { wire, path, credential: [], outcome };
          return [
            { ...row, name, message: { bytes } },
            { ...row, name: `${name}, by gzip`, message: { bytes: gzipSync(bytes), encoding: "gzip" } },
            {
              ...row,
              name: `${name}, by Brotli`,
              message: { bytes: brotliCompressSync(bytes), encoding: "br" },
            },
          ];
        }),
        {
          name: "10 MB",
          wire,
          path,
          credential: [],
          message: { bytes: Buffer.alloc(10 * MIB, " ") },
          outcome: "resource_exhausted",
        } as const,
        ...(["gzip", "br"] as const).map((encoding): Sent => {
          const message = { bytes: Buffer.from("not compressed at all"), encoding };
          // What gRPC's statuscodes.md asks for.
          const outcome = wire.protocol.startsWith("grpc") ? "internal" : "invalid_argument";
          return { name: `no ${encoding}`, wire, path, credential: [], message, outcome };
        }),
      ];
      return assertRefused(rows, send);
    });
  }

  test("whatever the method, but for imports: those may have 4 MiB", () => {
    const rows = calls.flatMap(({ name, method, path, credential, body }): Sent[] => {
      const most = method.name.startsWith("Import") ? 4 * MIB : LIMIT;
      const json = Buffer.from(JSON.stringify(body));
      const bytes = Buffer.concat([json, Buffer.alloc(most + 1 - json.length, " ")]);
      const row = { wire: JSON_WIRE, path, credential, outcome: "resource_exhausted" };
      return [
        { ...row, name, message: { bytes } },
        { ...row, name: `${name}, by gzip`, message: { bytes: gzipSync(bytes), encoding: "gzip" } },
      ];
    });
    return assertRefused(rows, send);
  });

  test("a bomb of gzip or Brotli takes no more memory than a message may have", async () => {
    // As much as fits into a message: 60 KiB that are 50 MiB and more.
    const bombs: readonly Message[] = [
      { bytes: gzipSync(Buffer.alloc(50 * MIB), { level: 9 }), encoding: "gzip" },
      {
        bytes: brotliCompressSync(Buffer.alloc(50 * MIB), {
          params: { [constants.BROTLI_PARAM_QUALITY]: 4 },
        }),
        encoding: "br",
      },
    ];
    for (const { bytes } of bombs) {
      assert.ok(bytes.length < LIMIT, `${bytes.length}`);
    }
    const peak = () => process.resourceUsage().maxRSS / 1024;
    const rows = Array.from({ length: 6 }, (_, at) =>
      WIRES.flatMap((wire) =>
        bombs.map((message): Sent => {
          const name = `${at} ${message.encoding} by ${wireName(wire)}`;
          return { name, wire, path, credential: [], message, outcome: "resource_exhausted" };
        }),
      ),
    ).flat();
    const before = peak();
    await assertRefused(rows, send);
    assert.ok(peak() - before < 100, `${rows.length} bombs took ${Math.round(peak() - before)} MiB`);
  });
});

test("what is said of a bad body repeats nothing of it", async () => {
  const secret = "s3cr3t-0f-4-p3rs0n";
  const login = "TokenService/IssueToken";
  const bodies = [
    { method: login, body: `{"password":"${secret}"}` },
    { method: login, body: `{"password":["${secret}"]}` },
    { method: login, body: `{"password":{"email":"a@b.test","password":${secret}}}` },
    { method: login, body: `{"password":{"email":"a@b.test","password":["${secret}"]}}` },
    { method: login, body: `{"password":{"email":"a@b.test","password":"${secret}","email":"a@b.test"}}` },
    { method: login, body: `{"password":{"email":"a@b.test","password":"${secret}"}}}` },
    { method: login, body: `{"password":{"email":"a@b.test","password":"${secret}\\x"}}` },
    { method: login, body: `{"password":{"email":"a@b.test","password":"${secret}\n"}}` },
    { method: login, body: secret },
    { method: login, body: `"${secret}"` },
    { method: "TokenService/RevokeToken", body: `{"token":${secret}}` },
    { method: "ApiKeyService/ListApiKeys", body: `{"pageSize":"${secret}"}` },
    { method: "ApiKeyService/ListApiKeys", body: `{"organizationId":"${secret}"}` },
    { method: "UserService/UpdateUser", body: `{"disabled":"${secret}"}` },
    { method: "ApiKeyService/RevokeOwnApiKey", body: `{"apiKey":["${secret}"]}` },
    { method: "ApiKeyService/RevokeOwnApiKey", body: `{"apiKey":"${secret}","apiKey":"${secret}"}` },
    { method: "ApiKeyService/RevokeOwnApiKey", body: `{"apiKey":"${secret}","reason":"a\\nb"}` },
    { method: "ApiKeyService/RotateApiKey", body: `{"overlap":"${secret}"}` },
    { method: "ApiKeyService/ImportApiKeys", body: `{"mode":"${secret}"}` },
    { method: "ApiKeyService/ImportApiKeys", body: `{"hashing":{"hmacSecret":"${secret}!"}}` },
    { method: "ApiKeyService/ImportApiKeys", body: `{"hashing":{"hmacSecret":["${secret}"]}}` },
    { method: "ApiKeyService/ImportApiKeys", body: `{"hashing":"${secret}"}` },
    { method: "ApiKeyService/ImportApiKeys", body: `{"keys":[{"hash":"${secret}!"}]}` },
    { method: "ApiKeyService/ImportApiKeys", body: `{"keys":[{"lookupPrefix":{"a":"${secret}"}}]}` },
    { method: "ApiKeyService/CreateApiKey", body: `{"metadata":{"entries":{"a":["${secret}"]}}}` },
    { method: "AuthenticationService/Explain", body: `{"request":{"headers":"${secret}"}}` },
    {
      method: "AuthenticationService/Explain",
      body: `{"request":{"headers":[{"name":"X-API-Key","value":["${secret}"]}]}}`,
    },
    { method: "ApiKeyService/CreateApiKey", body: `{"expireTime":"${secret}"}` },
    { method: "AuthenticationService/Authenticate", body: `{"headers":"${secret}"}` },
    {
      method: "AuthenticationService/Authenticate",
      body: `{"headers":[{"name":"X-API-Key","value":${secret}}]}`,
    },
    { method: "AuthenticationService/Authenticate", body: `{"headers":{"X-API-Key":"${secret}"}}` },
  ];
  const [{ credential } = assert.fail()] = calls;
  await assertOutcomes(
    bodies.map((row, at) => ({ ...row, name: `${at} ${row.body}`, outcome: "repeats nothing" })),
    async ({ method, body }) => {
      const answer = await callHttp1(service.port, `/latchkey.v1.${method}`, credential, body);
      const text = answer.body.toString();
      return text.includes(secret.slice(0, 8)) ? `says ${JSON.parse(text).message}` : "repeats nothing";
    },
  );
  assert.deepEqual(
    service.logged.filter((line) => line.includes(secret)),
    [],
  );
});
