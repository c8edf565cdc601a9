import assert from "node:assert/strict";
import {
  type DescEnum,
  type DescField,
  type DescMessage,
  getOption,
  type JsonObject,
  type JsonValue,
  ScalarType,
} from "@bufbuild/protobuf";
import { DurationSchema, TimestampSchema } from "@bufbuild/protobuf/wkt";
import { type FieldRules, field as fieldRules } from "../../src/gen/buf/validate/validate_pb.ts";
import { ApiKeyToImportSchema, CreateApiKeyRequestSchema } from "../../src/gen/latchkey/v1/api_key_pb.ts";

export type Kind = "string" | "int32" | "bool" | "bytes" | "timestamp" | "duration" | "enum" | "map";

/** A field that holds a value, somewhere in a request. */
export interface Leaf {
  readonly desc: DescField;
  /** The names of JSON down to it. */
  readonly path: readonly string[];
  /** Of a map, both its names and its values are text. */
  readonly kind: Kind;
  /** Those of each value, where it is a list. */
  readonly rules: FieldRules | undefined;
  readonly isList: boolean;
}

const SCALARS: ReadonlyMap<ScalarType, Kind> = new Map([
  [ScalarType.STRING, "string"],
  [ScalarType.INT32, "int32"],
  [ScalarType.BOOL, "bool"],
  [ScalarType.BYTES, "bytes"],
]);
const MESSAGES: ReadonlyMap<string, Kind> = new Map([
  [TimestampSchema.typeName, "timestamp"],
  [DurationSchema.typeName, "duration"],
]);

/** Every one of them in a message, and in the messages within it. */
export function* leavesOf(message: DescMessage, path: readonly string[] = []): Generator<Leaf> {
  for (const desc of message.fields) {
    const here = [...path, desc.jsonName];
    const isList = desc.fieldKind === "list";
    const rules = rulesOf(desc);
    const kind = kindOf(desc);
    if (kind !== undefined) {
      yield { desc, path: here, kind, isList, rules: isList ? listRules(rules)?.items : rules };
    } else if (desc.message !== undefined) {
      yield* leavesOf(desc.message, here);
    } else {
      assert.fail(`a kind of field that this test does not know: ${desc}`);
    }
  }
}

/** A message, and every one within it, with the names of JSON down to it. */
export function* placesIn(
  message: DescMessage,
  path: readonly string[] = [],
): Generator<{ readonly parent: readonly string[]; readonly message: DescMessage }> {
  yield { parent: path, message };
  for (const field of message.fields) {
    const isOwn = field.message?.typeName.startsWith("latchkey.");
    if (field.message !== undefined && isOwn && field.fieldKind !== "map") {
      yield* placesIn(field.message, [...path, field.jsonName]);
    }
  }
}

function kindOf(desc: DescField): Kind | undefined {
  if (desc.fieldKind === "map") {
    assert.equal(desc.mapKind === "scalar" && desc.scalar, ScalarType.STRING, `of text: ${desc}`);
    return "map";
  }
  if (desc.message !== undefined) {
    return MESSAGES.get(desc.message.typeName);
  }
  return desc.enum !== undefined ? "enum" : desc.scalar && SCALARS.get(desc.scalar);
}

/** The rules beside a field. Those of a key to import are of a new key: `ApiKeyToImport` says so. */
export function rulesOf(desc: DescField): FieldRules | undefined {
  if (desc.parent === ApiKeyToImportSchema) {
    const model = CreateApiKeyRequestSchema.fields.find(({ name }) => name === desc.name);
    return model && getOption(model, fieldRules);
  }
  return getOption(desc, fieldRules);
}

// The rules of a kind, where a field has rules of that kind.

type Rules = FieldRules | undefined;

export function listRules(rules: Rules) {
  return rules?.type.case === "repeated" ? rules.type.value : undefined;
}

export function mapRules(rules: Rules) {
  return rules?.type.case === "map" ? rules.type.value : undefined;
}

export function stringRules(rules: Rules) {
  return rules?.type.case === "string" ? rules.type.value : undefined;
}

export function int32Rules(rules: Rules) {
  return rules?.type.case === "int32" ? rules.type.value : undefined;
}

export function boolRules(rules: Rules) {
  return rules?.type.case === "bool" ? rules.type.value : undefined;
}

export function bytesRules(rules: Rules) {
  return rules?.type.case === "bytes" ? rules.type.value : undefined;
}

export function enumRules(rules: Rules) {
  return rules?.type.case === "enum" ? rules.type.value : undefined;
}

export function durationRules(rules: Rules) {
  return rules?.type.case === "duration" ? rules.type.value : undefined;
}

export function timestampRules(rules: Rules) {
  return rules?.type.case === "timestamp" ? rules.type.value : undefined;
}

export function enumOf({ desc }: Leaf): DescEnum {
  return desc.enum ?? assert.fail(`${desc} is an enum`);
}

/** What stands in one place of a body. Of a list of messages, the first is meant. Undefined: nothing does. */
export function valueAt(body: JsonValue | undefined, path: readonly string[]): JsonValue | undefined {
  return path.reduce<JsonValue | undefined>((value, name) => {
    const object = Array.isArray(value) ? value[0] : value;
    return typeof object === "object" && object !== null ? (object as JsonObject)[name] : undefined;
  }, body);
}

/** The body with another value in one place. Of a list of messages, the first is meant. */
export function put(body: JsonObject, path: readonly string[], value: JsonValue): JsonObject {
  return putInto(body, path, () => value) as JsonObject;
}

/** The body with nothing in one place. */
export function without(body: JsonObject, path: readonly string[]): JsonObject {
  return putInto(body, path, () => undefined) as JsonObject;
}

function putInto(
  body: JsonValue,
  [name, ...rest]: readonly string[],
  value: () => JsonValue | undefined,
): JsonValue | undefined {
  if (name === undefined) {
    return value();
  }
  if (Array.isArray(body)) {
    return [putInto(body[0] ?? {}, [name, ...rest], value) ?? {}, ...body.slice(1)];
  }
  const object = body as JsonObject;
  const inner = putInto(object[name] ?? {}, rest, value);
  const others = Object.entries(object).filter(([other]) => other !== name);
  // Not by assignment, so that `__proto__` is a name like any other.
  return Object.fromEntries(inner === undefined ? others : [...others, [name, inner]]);
}
