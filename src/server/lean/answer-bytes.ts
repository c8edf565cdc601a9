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

const SCHEMA = AuthenticateResponseSchema;

/**
 * An answer without its revision, as protobuf-es writes it: its fields before that, and those after it. Bytes are kept
 * as characters, which take less room than a Buffer for each and are copied into one as fast.
 */
interface Kept {
  binary: readonly [head: string, tail: string] | undefined;
  json: readonly [head: string, tail: string] | undefined;
}

/** Writes answers, each as often as it is asked for and no more than once but for its revision, which never stays. */
export class AnswerWriter {
  readonly #kept = new WeakMap<Decision, Kept>();
  readonly #cacheTag: (tag: Tag) => string;
  #revision = "";
  /** The field of that revision. */
  #binary = "";
  #json = "";

  constructor(cacheTag: (tag: Tag) => string) {
    this.#cacheTag = cacheTag;
  }

  /** A message in its envelope. @param decision nobody changes it. */
  enveloped(decision: Decision, revision: string): Buffer {
    const [head, tail] = this.binaryParts(decision);
    const field = this.binaryRevision(revision);
    const bytes = Buffer.allocUnsafe(ENVELOPE_BYTES + head.length + field.length + tail.length);
    let at = ENVELOPE_BYTES;
    at += bytes.write(head, at, "latin1");
    at += bytes.write(field, at, "latin1");
    bytes.write(tail, at, "latin1");
    return envelope(bytes);
  }

  /** A message, as characters. */
  binary(decision: Decision, revision: string): string {
    const [head, tail] = this.binaryParts(decision);
    return head + this.binaryRevision(revision) + tail;
  }

  /** The same in JSON. */
  json(decision: Decision, revision: string): string {
    const [head, tail] = this.#jsonParts(decision);
    this.#turnTo(revision);
    return head + this.#json + tail;
  }

  /** The bytes before the revision and those after it. */
  binaryParts(decision: Decision): readonly [head: string, tail: string] {
    const kept = this.#keptOf(decision);
    kept.binary ??= [
      charactersOf(toBinary(SCHEMA, create(SCHEMA, answerHead(decision)))),
      charactersOf(toBinary(SCHEMA, create(SCHEMA, answerTail(decision, this.#cacheTag)))),
    ];
    return kept.binary;
  }

  /** The field as it stands between them. */
  binaryRevision(revision: string): string {
    this.#turnTo(revision);
    return this.#binary;
  }

  #jsonParts(decision: Decision): readonly [head: string, tail: string] {
    const kept = this.#keptOf(decision);
    if (kept.json === undefined) {
      const head = toJsonString(SCHEMA, create(SCHEMA, answerHead(decision)));
      const tail = toJsonString(SCHEMA, create(SCHEMA, answerTail(decision, this.#cacheTag)));
      // `{…}` and `{…}`: what stands between is a comma, and a revision with another.
      const isAlone = tail === "{}";
      kept.json = [
        charactersOf(Buffer.from(head.slice(0, -1))),
        charactersOf(Buffer.from(isAlone ? "}" : `,${tail.slice(1)}`)),
      ];
    }
    return kept.json;
  }

  #keptOf(decision: Decision): Kept {
    let kept = this.#kept.get(decision);
    if (kept === undefined) {
      kept = { binary: undefined, json: undefined };
      this.#kept.set(decision, kept);
    }
    return kept;
  }

  /** It is the same for all answers until the next change. */
  #turnTo(revision: string): void {
    if (revision === this.#revision) {
      return;
    }
    this.#revision = revision;
    this.#binary = charactersOf(
      revision === "" ? new Uint8Array() : new BinaryWriter().uint32(REVISION_TAG).string(revision).finish(),
    );
    this.#json = revision === "" ? "" : charactersOf(Buffer.from(`,"revision":${JSON.stringify(revision)}`));
  }
}

export function charactersOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}

/** Fills in what stands before a message for which room was left. @param flags 1: the message is compressed. */
export function envelope(enveloped: Buffer, flags = 0): Buffer {
  enveloped.writeUInt8(flags);
  enveloped.writeUInt32BE(enveloped.length - ENVELOPE_BYTES, 1);
  return enveloped;
}

/** Puts a message in an envelope. */
export function enclose(message: Uint8Array, flags = 0): Buffer {
  const bytes = Buffer.allocUnsafe(ENVELOPE_BYTES + message.length);
  bytes.set(message, ENVELOPE_BYTES);
  return envelope(bytes, flags);
}

/** A length, as Protocol Buffers write it. */
export function varint(value: number): string {
  let text = "";
  let rest = value;
  for (; rest > 127; rest >>>= 7) {
    text += String.fromCharCode((rest & 127) | 128);
  }
  return text + String.fromCharCode(rest);
}
