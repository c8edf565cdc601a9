import { describe, test } from "node:test";
import type { JsonValue as Json, JsonObject } from "@bufbuild/protobuf";
import type { TestService } from "../support/service.ts";
import { type Leaf, leavesOf, put, valueAt } from "./leaves.ts";
import { type GoodCall, goodCalls } from "./methods.ts";
import { type Row, shown } from "./outcomes.ts";
import { refusals } from "./refusals.ts";

/** A call that is good but for one thing. */
export interface Bad extends Row {
  readonly good: GoodCall;
  readonly body: JsonObject;
}

export interface BadValue {
  readonly value: Json;
  readonly outcome: string;
}

/** The calls with what is wrong in one of their fields. */
export function rowsOf(good: GoodCall, path: readonly string[], values: readonly BadValue[]): Bad[] {
  return values.map(({ value, outcome }, at) => ({
    name: `${good.name} ${path.join(".")} ${at}: ${shown(JSON.stringify(value)).slice(0, 80)}`,
    good,
    body: put(good.body, path, value),
    outcome,
  }));
}

/** The fields that a good call sets: each of a method's is set by one of its calls. */
export function* fieldsOf({ method, body }: GoodCall): Generator<Leaf> {
  for (const leaf of leavesOf(method.input)) {
    if (valueAt(body, leaf.path) !== undefined) {
      yield leaf;
    }
  }
}

/** A text as the value of a field; in a map as a name, and as what stands beside one. */
export function asValues({ kind, isList }: Leaf, text: string): Json[] {
  switch (kind) {
    case "string":
      return [isList ? [text] : text];
    case "map":
      return [Object.fromEntries([[text, "x"]]), { a: text }];
    default:
      return [];
  }
}

export const undecodable = (values: readonly Json[]): BadValue[] =>
  values.map((value) => ({ value, outcome: "invalid_argument" }));

export const invalid = (values: readonly Json[], outcome = "REQUEST_INVALID"): BadValue[] =>
  values.map((value) => ({ value, outcome }));

/** Good calls of every method, and what tries bad ones. */
export async function badCalls(service: TestService) {
  const { assertRefused, call } = await refusals(service);
  const calls = await goodCalls(service);
  const tryAll = (rows: readonly Bad[]) =>
    assertRefused(rows, ({ good: { path, credential }, body }) => call(path, body, ...credential));

  return {
    calls,
    call,
    assertRefused,
    /** Tries the calls, none of which may write anything. */
    tryAll,
    /** A test for each field that the maker knows bad values for. */
    everyField(guarantee: string, badValues: (leaf: Leaf, good: GoodCall) => readonly BadValue[]): void {
      describe(guarantee, () => {
        for (const good of calls) {
          for (const leaf of fieldsOf(good)) {
            const rows = rowsOf(good, leaf.path, badValues(leaf, good));
            if (rows.length > 0) {
              test(`${good.name}: ${leaf.path.join(".")}`, () => tryAll(rows));
            }
          }
        }
      });
    },
  };
}
