import { isAscii, isUtf8 } from "node:buffer";
import type { HeaderField } from "../../credentials/credential-headers.ts";
import { type AskedQuestion, type Draft, draft, keepsRules } from "./asked-question.ts";

/** A message that is not read here, whatever the reason: protobuf-es has to say what it is. */
class NotPlain extends Error {}
/** Thrown for each message that is not plain, and shown to nobody. */
const NOT_PLAIN = new NotPlain();

/** The wire type of strings and messages (protobuf.dev/programming-guides/encoding). */
const LENGTH_DELIMITED = 2;

/**
 * Reads an AuthenticateRequest as protobuf-es does: of a field that comes twice the last one counts, and what is
 * repeated adds up.
 *
 * @returns undefined for what protobuf-es or the rules of the message may refuse, and for fields that are not known
 * here: it has to be read the long way.
 */
export function readQuestion(bytes: Buffer): AskedQuestion | undefined {
  return plainly(() => {
    const question = questionIn(new Fields(bytes, 0, bytes.length, isAscii(bytes)));
    return keepsRules(question) ? question : undefined;
  });
}

/**
 * The same for a BatchAuthenticateRequest.
 *
 * @param most how many questions it may have.
 */
export function readQuestions(bytes: Buffer, most: number): readonly AskedQuestion[] | undefined {
  return plainly(() => {
    const fields = new Fields(bytes, 0, bytes.length, isAscii(bytes));
    const questions: Draft[] = [];
    while (fields.next()) {
      if (fields.number !== 1 || questions.length === most) {
        return undefined;
      }
      questions.push(questionIn(fields.message()));
    }
    return questions.every(keepsRules) ? questions : undefined;
  });
}

function plainly<Read>(read: () => Read): Read | undefined {
  try {
    return read();
  } catch (thrown) {
    if (thrown === NOT_PLAIN) {
      return undefined;
    }
    throw thrown;
  }
}

function questionIn(fields: Fields): Draft {
  const question = draft();
  while (fields.next()) {
    switch (fields.number) {
      case 1:
        question.headers.push(headerIn(fields.message()));
        break;
      case 2:
        question.requiredPermissions.push(fields.text());
        break;
      case 3:
        question.organizationId = fields.text().toLowerCase();
        break;
      case 4:
        question.audience = fields.text();
        break;
      case 5:
        question.clientAddress = fields.text();
        break;
      case 6:
        question.anyPermissions.push(fields.text());
        break;
      case 7:
        question.minRevision = fields.text();
        break;
      default:
        throw NOT_PLAIN;
    }
  }
  return question;
}

function headerIn(fields: Fields): HeaderField {
  let name = "";
  let value = "";
  while (fields.next()) {
    switch (fields.number) {
      case 1:
        name = fields.text();
        break;
      case 2:
        value = fields.text();
        break;
      default:
        throw NOT_PLAIN;
    }
  }
  return { name, value };
}

/** The fields of one message, all of them strings or messages. */
class Fields {
  /** Of the field that next() came to. */
  number = 0;
  readonly #bytes: Buffer;
  readonly #isAscii: boolean;
  readonly #end: number;
  /** Where the next field begins. */
  #at: number;
  #valueStart = 0;

  constructor(bytes: Buffer, start: number, end: number, ascii: boolean) {
    this.#bytes = bytes;
    this.#isAscii = ascii;
    this.#at = start;
    this.#end = end;
  }

  next(): boolean {
    if (this.#at === this.#end) {
      return false;
    }
    const tag = this.#varint();
    this.number = tag >>> 3;
    const length = (tag & 7) === LENGTH_DELIMITED ? this.#varint() : this.#end;
    this.#valueStart = this.#at;
    this.#at += length;
    if (this.#at > this.#end) {
      throw NOT_PLAIN;
    }
    return true;
  }

  message(): Fields {
    return new Fields(this.#bytes, this.#valueStart, this.#at, this.#isAscii);
  }

  text(): string {
    if (this.#isAscii) {
      return this.#bytes.toString("latin1", this.#valueStart, this.#at);
    }
    if (!isUtf8(this.#bytes.subarray(this.#valueStart, this.#at))) {
      throw NOT_PLAIN;
    }
    return this.#bytes.toString("utf8", this.#valueStart, this.#at);
  }

  /** Up to four bytes of it: no message here is longer than that can say. */
  #varint(): number {
    let value = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      // Past the end of the message it is 0 or another's, and seen to be too long.
      const byte = this.#bytes[this.#at++] ?? 0;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        return value;
      }
    }
    throw NOT_PLAIN;
  }
}
