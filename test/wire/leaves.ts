import assert from "node:assert/strict";
import {
  type DescField,
  type DescMessage,
  getOption,
  type JsonObject,
  type JsonValue,
  ScalarType,
} from "@bufbuild/protobuf";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";
import { type FieldRules, field as fieldRules } from "../../src/gen/buf/validate/validate_pb.ts";

/** A field that holds a value, somewhere in a request. */
export interface Leaf {
  readonly desc: DescField;
  /** The names of JSON down to it. */
  readonly path: readonly string[];
  readonly kind: "string" | "int32" | "bool" | "timestamp";
  readonly rules: FieldRules | undefined;
  readonly isList: boolean;
}

const KINDS = [
  { scalar: ScalarType.STRING, kind: "string" },
  { scalar: ScalarType.INT32, kind: "int32" },
  { scalar: ScalarType.BOOL, kind: "bool" },
] as const;

/** Every one of them in a message, and in the messages within it. */
export function* leavesOf(message: DescMessage, path: readonly string[] = []): Generator<Leaf> {
  for (const desc of message.fields) {
    const here = [...path, desc.jsonName];
    const isList = desc.fieldKind === "list";
    const rules = getOption(desc, fieldRules);
    const leaf = { desc, path: here, isList, rules: isList ? listRules(rules)?.items : rules };
    if (desc.message?.typeName === TimestampSchema.typeName) {
      yield { ...leaf, kind: "timestamp" };
    } else if (desc.message !== undefined) {
      yield* leavesOf(desc.message, here);
    } else {
      const found = KINDS.find(({ scalar }) => scalar === desc.scalar);
      yield {
        ...leaf,
        kind: found?.kind ?? assert.fail(`a kind of field that this test does not know: ${desc}`),
      };
    }
  }
}

export function listRules(rules: FieldRules | undefined) {
  return rules?.type.case === "repeated" ? rules.type.value : undefined;
}

export function stringRules(rules: FieldRules | undefined) {
  return rules?.type.case === "string" ? rules.type.value : undefined;
}

/** The body with another value in one place. Of a list of messages, the first is meant. */
export function put(body: JsonObject, path: readonly string[], value: JsonValue): JsonObject {
  return putInto(body, path, value) as JsonObject;
}

function putInto(body: JsonValue, [name, ...rest]: readonly string[], value: JsonValue): JsonValue {
  if (name === undefined) {
    return value;
  }
  if (Array.isArray(body)) {
    return [putInto(body[0] ?? {}, [name, ...rest], value), ...body.slice(1)];
  }
  const object = body as JsonObject;
  return { ...object, [name]: putInto(object[name] ?? {}, rest, value) };
}
