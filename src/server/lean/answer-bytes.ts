import { create, toBinary, toJsonString } from "@bufbuild/protobuf";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { answerHead, answerTail } from "../../authenticate/authentication-service.ts";
import type { Decision } from "../../authenticate/decision.ts";
import type { Tag } from "../../changes/mutate.ts";
import { AuthenticateResponseSchema } from "../../gen/latchkey/v1/authentication_pb.ts";

/** What stands before a message of gRPC: one byte of flags, four of length. */
export const ENVELOPE_BYTES = 5;

/** The tag of `revision`, which is field 8 and a string. */
const REVISION_TAG = (8 << 3) | 2;

/** The bytes of an answer, as protobuf-es writes them. */
export interface AnswerBytes {
  readonly message: Buffer;
  /** The same message in its envelope of gRPC. */
  readonly enveloped: Buffer;
  readonly json: Buffer;
}

const known = new WeakMap<Decision, AnswerOf>();

/**
 * An answer is written once for each decision and revision: the same one serves all who ask while nothing changes.
 *
 * @param decision nobody changes it.
 */
export function answerBytes(
  decision: Decision,
  revision: string,
  cacheTag: (tag: Tag) => string,
): AnswerBytes {
  let answer = known.get(decision);
  if (answer?.revision !== revision) {
    answer = new AnswerOf(decision, revision, answer, cacheTag);
    known.set(decision, answer);
  }
  return answer;
}

class AnswerOf implements AnswerBytes {
  readonly revision: string;
  readonly #parts: Parts;
  #enveloped: Buffer | undefined;
  #json: Buffer | undefined;

  constructor(
    decision: Decision,
    revision: string,
    before: AnswerOf | undefined,
    cacheTag: (tag: Tag) => string,
  ) {
    this.revision = revision;
    this.#parts = before === undefined ? new Parts(decision, cacheTag) : before.#parts;
  }

  get message(): Buffer {
    return this.enveloped.subarray(ENVELOPE_BYTES);
  }

  get enveloped(): Buffer {
    this.#enveloped ??= envelope(this.#parts.binary(this.revision));
    return this.#enveloped;
  }

  get json(): Buffer {
    this.#json ??= Buffer.from(this.#parts.json(this.revision));
    return this.#json;
  }
}

/** An answer without its revision: its fields before that, and those after it. */
class Parts {
  readonly #decision: Decision;
  readonly #cacheTag: (tag: Tag) => string;
  #binary: readonly [Uint8Array, Uint8Array] | undefined;
  #json: readonly [string, string] | undefined;

  constructor(decision: Decision, cacheTag: (tag: Tag) => string) {
    this.#decision = decision;
    this.#cacheTag = cacheTag;
  }

  binary(revision: string): Uint8Array {
    this.#binary ??= [toBinary(SCHEMA, this.#head()), toBinary(SCHEMA, this.#tail())];
    const [head, tail] = this.#binary;
    const writer = new BinaryWriter().raw(head);
    if (revision !== "") {
      writer.uint32(REVISION_TAG).string(revision);
    }
    return writer.raw(tail).finish();
  }

  json(revision: string): string {
    this.#json ??= [
      membersOf(toJsonString(SCHEMA, this.#head())),
      membersOf(toJsonString(SCHEMA, this.#tail())),
    ];
    const [head, tail] = this.#json;
    const own = revision === "" ? "" : `"revision":${JSON.stringify(revision)}`;
    return `{${[head, own, tail].filter((members) => members !== "").join(",")}}`;
  }

  #head() {
    return create(SCHEMA, answerHead(this.#decision));
  }

  #tail() {
    return create(SCHEMA, answerTail(this.#decision, this.#cacheTag));
  }
}

const SCHEMA = AuthenticateResponseSchema;

function membersOf(object: string): string {
  return object.slice(1, -1);
}

/** @param flags 1: the message is compressed. */
export function envelope(message: Uint8Array, flags = 0): Buffer {
  const bytes = Buffer.allocUnsafe(ENVELOPE_BYTES + message.length);
  bytes.writeUInt8(flags);
  bytes.writeUInt32BE(message.length, 1);
  bytes.set(message, ENVELOPE_BYTES);
  return bytes;
}
