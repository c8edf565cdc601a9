import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, fromJsonString, toBinary, toJsonString } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import fc from "fast-check";
import type { Decision } from "../../src/authenticate/decision.ts";
import type { Tag } from "../../src/changes/mutate.ts";
import {
  type AuthenticateRequest,
  AuthenticateRequestSchema,
  AuthenticateResponseSchema,
  BatchAuthenticateRequestSchema,
} from "../../src/gen/latchkey/v1/authentication_pb.ts";
import { AnswerWriter, ENVELOPE_BYTES } from "../../src/server/lean/answer-bytes.ts";
import type { AskedQuestion } from "../../src/server/lean/asked-question.ts";
import { readQuestion, readQuestions } from "../../src/server/lean/question-binary.ts";
import { readQuestionJson } from "../../src/server/lean/question-json.ts";

const validator = createValidator();

/** What the long way makes of a message before it is decided about. Undefined: it refuses it. */
function asTheLongWay(read: () => AuthenticateRequest): AskedQuestion | undefined {
  let message: AuthenticateRequest;
  try {
    message = read();
  } catch {
    return undefined;
  }
  message.organizationId = message.organizationId.toLowerCase();
  if (validator.validate(AuthenticateRequestSchema, message).kind !== "valid") {
    return undefined;
  }
  const { $typeName: _type, $unknown: _unknown, headers, ...fields } = message;
  return { ...fields, headers: headers.map(({ name, value }) => ({ name, value })) };
}

const text = fc.oneof(
  fc.string({ unit: "grapheme-ascii", maxLength: 12 }),
  fc.string({ unit: "grapheme", maxLength: 6 }),
  fc.constantFrom(
    "",
    "x-api-key",
    "a".repeat(100),
    "a".repeat(101),
    "𝄞".repeat(60),
    '"\\"',
    "\ufeff",
    "\ufffd",
  ),
);
const permissions = fc.oneof(
  fc.array(text, { maxLength: 3 }),
  fc.constantFrom(Array(64).fill("a"), Array(65).fill("a")),
);
const question = fc.record(
  {
    headers: fc.array(fc.record({ name: text, value: text }), { maxLength: 4 }),
    requiredPermissions: permissions,
    anyPermissions: permissions,
    organizationId: fc.oneof(
      fc.uuid(),
      fc.uuid().map((id) => id.toUpperCase()),
      text,
    ),
    audience: fc.oneof(text, fc.constantFrom("a".repeat(255), "a".repeat(256), "𝄞".repeat(200))),
    clientAddress: text,
    minRevision: fc.oneof(text, fc.constantFrom("a".repeat(4096), "a".repeat(4097))),
  },
  { requiredKeys: [] },
);

/** One that nobody refuses, and so has to be read here. */
const plain = fc.record({
  headers: fc.array(fc.record({ name: text, value: text }), { maxLength: 4 }),
  requiredPermissions: fc.array(fc.string({ minLength: 1, maxLength: 100 }), { maxLength: 5 }),
  organizationId: fc.oneof(fc.constant(""), fc.uuid()),
  audience: fc.string({ maxLength: 255 }),
});

const binaryOf = (asked: Parameters<typeof create<typeof AuthenticateRequestSchema>>[1]) =>
  Buffer.from(toBinary(AuthenticateRequestSchema, create(AuthenticateRequestSchema, asked)));
const jsonOf = (asked: Parameters<typeof create<typeof AuthenticateRequestSchema>>[1]) =>
  Buffer.from(toJsonString(AuthenticateRequestSchema, create(AuthenticateRequestSchema, asked)));

/** Agrees, or leaves it alone. */
function agrees(ours: AskedQuestion | undefined, theirs: AskedQuestion | undefined): void {
  if (ours !== undefined) {
    assert.deepEqual(ours, theirs);
  }
}

function readsBinaryAlike(bytes: Buffer): void {
  agrees(
    readQuestion(bytes),
    asTheLongWay(() => fromBinary(AuthenticateRequestSchema, bytes)),
  );
}

function readsJsonAlike(bytes: Buffer): void {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  agrees(
    readQuestionJson(bytes),
    asTheLongWay(() => fromJsonString(AuthenticateRequestSchema, decoder.decode(bytes))),
  );
}

test("reads a message in protobuf as protobuf-es and its rules have it, or leaves it to them", () => {
  fc.assert(fc.property(question, (asked) => readsBinaryAlike(binaryOf(asked))));
  fc.assert(
    fc.property(plain, (asked) => {
      assert.notEqual(readQuestion(binaryOf(asked)), undefined);
    }),
  );
});

test("reads bytes that are no such message, or one that was put together otherwise, no other than protobuf-es", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => readsBinaryAlike(Buffer.from(bytes))),
    {
      numRuns: 2000,
    },
  );
  // Two messages one after the other are one, whose fields are merged.
  fc.assert(
    fc.property(question, question, (one, other) =>
      readsBinaryAlike(Buffer.concat([binaryOf(one), binaryOf(other)])),
    ),
  );
  fc.assert(
    fc.property(plain, fc.nat(), fc.nat(255), fc.boolean(), (asked, at, byte, isCut) => {
      const bytes = binaryOf(asked);
      const where = at % (bytes.length + 1);
      readsBinaryAlike(
        isCut
          ? bytes.subarray(0, where)
          : Buffer.concat([bytes.subarray(0, where), Buffer.of(byte), bytes.subarray(where + 1)]),
      );
    }),
    { numRuns: 2000 },
  );
});

test("reads a message in JSON as protobuf-es and its rules have it, or leaves it to them", () => {
  fc.assert(fc.property(question, (asked) => readsJsonAlike(jsonOf(asked))));
  fc.assert(
    fc.property(plain, (asked) => {
      assert.notEqual(readQuestionJson(jsonOf(asked)), undefined);
    }),
  );
});

test("reads JSON of other forms no other than protobuf-es", () => {
  const name = fc.constantFrom(
    "headers",
    "audience",
    "aud\\u0069ence",
    "minRevision",
    "min_revision",
    "requiredPermissions",
    "__proto__",
    "name",
    "x",
  );
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 3 },
      fc.constantFrom(
        '"a"',
        '"\\""',
        '"\\u0022"',
        '"\\\\u0022"',
        '"\\ud800"',
        '"\\ud834\\udd1e"',
        "1",
        "null",
        "true",
        '""',
      ),
      fc.array(tie("value"), { maxLength: 3 }).map((items) => `[${items.join(",")}]`),
      fc
        .array(fc.tuple(name, tie("value")), { maxLength: 3 })
        .map((members) => `{${members.map(([key, item]) => `"${key}":${item}`).join(" , ")}}`),
    ),
  }));
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value), { maxLength: 4 }), (members) =>
      readsJsonAlike(Buffer.from(`{${members.map(([key, item]) => `"${key}":${item}`).join(",")}}`)),
    ),
    { numRuns: 3000 },
  );
  fc.assert(
    fc.property(plain, fc.nat(), fc.string({ maxLength: 3 }), (asked, at, piece) => {
      const json = jsonOf(asked).toString();
      const where = at % (json.length + 1);
      readsJsonAlike(Buffer.from(json.slice(0, where) + piece + json.slice(where + piece.length)));
    }),
    { numRuns: 2000 },
  );
});

test("does not see the first of two values of one name where there are none", () => {
  for (const json of [
    '{"audience":"a","audience":"b"}',
    '{"headers":[{"name":"a","name":"b"}]}',
    '{"audience":"a","audienc\\u0065":"\\u0022"}',
  ]) {
    assert.equal(readQuestionJson(Buffer.from(json)), undefined, json);
  }
});

test("reads several questions as each of them, and no more than it may", () => {
  fc.assert(
    fc.property(fc.array(plain, { maxLength: 4 }), (asked) => {
      const requests = asked.map((one) => create(AuthenticateRequestSchema, one));
      const bytes = Buffer.from(
        toBinary(BatchAuthenticateRequestSchema, create(BatchAuthenticateRequestSchema, { requests })),
      );
      assert.deepEqual(
        readQuestions(bytes, 4),
        asked.map((one) => readQuestion(binaryOf(one))),
      );
      if (asked.length > 0) {
        assert.equal(readQuestions(bytes, asked.length - 1), undefined);
      }
    }),
    { numRuns: 50 },
  );
});

const decision: Decision = {
  principal: { id: "p", type: "user", displayName: "Zoë", email: "zoe@acme.test", role: "owner" },
  credential: { id: "c", type: "access_token", expireTime: new Date(1_800_000_000_123) },
  organization: { id: "o", name: '"acme"', suspended: false, createTime: new Date(0) },
  parentKey: { type: "service", id: "s", displayName: "edge" },
  owner: { userId: "p" },
  grants: [],
  permissions: new Set(["b", "a"]),
  catalogue: { organization: [], platform: [] },
  allowedCidrs: [],
  secretId: undefined,
  secretMakers: [],
  rateLimit: undefined,
  stripHeaders: ["authorization"],
  tags: [],
  endTime: undefined,
};
const cacheTag = (tag: Tag) => `opaque ${tag}`;

test("writes an answer as protobuf-es does, whatever its revision", () => {
  const kept = { ...decision, tags: ["key:1", "org:2"] as const, endTime: new Date(1_900_000_000_000) };
  const writer = new AnswerWriter(cacheTag);
  for (const one of [decision, kept]) {
    for (const revision of ["", "r1", 'r"2', "r".repeat(200), "r1"]) {
      const message = Buffer.from(writer.binary(one, revision), "latin1");
      const read = fromBinary(AuthenticateResponseSchema, message);
      assert.equal(read.revision, revision);
      assert.equal(read.principal?.displayName, "Zoë");
      assert.deepEqual(read.cacheTags, one === kept ? kept.tags.map(cacheTag) : []);
      assert.deepEqual(Buffer.from(toBinary(AuthenticateResponseSchema, read)), message);
      assert.equal(
        toJsonString(AuthenticateResponseSchema, read),
        Buffer.from(writer.json(one, revision), "latin1").toString(),
      );
      const enveloped = writer.enveloped(one, revision);
      assert.equal(enveloped.readUInt32BE(1), message.length);
      assert.deepEqual(enveloped.subarray(ENVELOPE_BYTES), message);
    }
  }
});

test("answers without a limit may be kept, those of a key with a limit may not", () => {
  const writer = new AnswerWriter(cacheTag);
  const limited = { ...decision, tags: ["key:1"] as const, rateLimit: { requests: 1, windowSeconds: 1 } };
  assert.deepEqual(
    fromBinary(AuthenticateResponseSchema, Buffer.from(writer.binary(limited, "r"), "latin1")).cacheTags,
    [],
  );
});
