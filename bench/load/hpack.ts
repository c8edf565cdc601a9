// HPACK (RFC 7541), as much of it as a client needs that sends the same fields each time, and reads what it is sent.

export type Field = readonly [name: string, value: string];

/** Appendix A, from index 1. */
const STATIC: readonly Field[] = [
  [":authority", ""],
  [":method", "GET"],
  [":method", "POST"],
  [":path", "/"],
  [":path", "/index.html"],
  [":scheme", "http"],
  [":scheme", "https"],
  [":status", "200"],
  [":status", "204"],
  [":status", "206"],
  [":status", "304"],
  [":status", "400"],
  [":status", "404"],
  [":status", "500"],
  ["accept-charset", ""],
  ["accept-encoding", "gzip, deflate"],
  ...(
    "accept-language accept-ranges accept access-control-allow-origin age allow authorization cache-control " +
    "content-disposition content-encoding content-language content-length content-location content-range " +
    "content-type cookie date etag expect expires from host if-match if-modified-since if-none-match if-range " +
    "if-unmodified-since last-modified link location max-forwards proxy-authenticate proxy-authorization range " +
    "referer refresh retry-after server set-cookie strict-transport-security transfer-encoding user-agent vary " +
    "via www-authenticate"
  )
    .split(" ")
    .map((name): Field => [name, ""]),
];
const FIRST_DYNAMIC = STATIC.length + 1;
/** Section 4.1. */
const FIELD_OVERHEAD = 32;
const TABLE_BYTES = 4096;

/**
 * The blocks of a client that sends the same fields with every request, as the usual clients encode them: what the
 * first request puts into the table, the others name by a byte each.
 *
 * @returns the block of a connection's first request, and that of all others.
 */
export function encodeRepeated(fields: readonly Field[]): { readonly first: Buffer; readonly next: Buffer } {
  const first: Buffer[] = [];
  const added: Field[] = [];
  const whole = (field: Field) =>
    STATIC.findIndex(([name, value]) => name === field[0] && value === field[1]);
  for (const field of fields) {
    if (whole(field) !== -1) {
      first.push(integer(0x80, 7, whole(field) + 1));
      continue;
    }
    const [name, value] = field;
    const known = STATIC.findIndex(([each]) => each === name) + 1;
    // Section 6.2.1: a literal with incremental indexing.
    first.push(integer(0x40, 6, known), ...(known === 0 ? [text(name)] : []), text(value));
    added.push(field);
  }
  const next = fields.map((field) => {
    const at = added.indexOf(field);
    return integer(0x80, 7, at === -1 ? whole(field) + 1 : FIRST_DYNAMIC + added.length - 1 - at);
  });
  return { first: Buffer.concat(first), next: Buffer.concat(next) };
}

/** Section 5.1. */
function integer(flags: number, bits: number, value: number): Buffer {
  const most = 2 ** bits - 1;
  if (value < most) {
    return Buffer.from([flags | value]);
  }
  const bytes = [flags | most];
  let rest = value - most;
  for (; rest >= 128; rest = Math.floor(rest / 128)) {
    bytes.push((rest % 128) | 0x80);
  }
  return Buffer.from([...bytes, rest]);
}

/** Section 5.2, not Huffman-coded. */
function text(value: string): Buffer {
  const bytes = Buffer.from(value, "latin1");
  return Buffer.concat([integer(0, 7, bytes.length), bytes]);
}

/** Reads the blocks of one connection, in their order. */
export class HpackDecoder {
  /** The newest first. */
  readonly #dynamic: Field[] = [];
  #bytes = 0;
  #at = 0;
  #block: Buffer = Buffer.alloc(0);

  /** @param told is given each field. */
  decode(block: Buffer, told: (name: string, value: string) => void): void {
    this.#block = block;
    this.#at = 0;
    while (this.#at < block.length) {
      const byte = block[this.#at] as number;
      if (byte >= 0x80) {
        const [name, value] = this.#field(this.#integer(7));
        told(name, value);
      } else if (byte >= 0x40) {
        const field = this.#literal(6);
        this.#add(field);
        told(field[0], field[1]);
      } else if (byte >= 0x20) {
        this.#evict(this.#integer(5));
      } else {
        const [name, value] = this.#literal(4);
        told(name, value);
      }
    }
  }

  #literal(bits: number): Field {
    const index = this.#integer(bits);
    return [index === 0 ? this.#text() : this.#field(index)[0], this.#text()];
  }

  #field(index: number): Field {
    const field = index < FIRST_DYNAMIC ? STATIC[index - 1] : this.#dynamic[index - FIRST_DYNAMIC];
    if (field === undefined) {
      throw new Error(`a header block names the field ${index}, which there is not`);
    }
    return field;
  }

  #add(field: Field): void {
    this.#dynamic.unshift(field);
    this.#bytes += sizeOf(field);
    this.#evict(TABLE_BYTES);
  }

  #evict(most: number): void {
    while (this.#bytes > most) {
      this.#bytes -= sizeOf(this.#dynamic.pop() as Field);
    }
  }

  #integer(bits: number): number {
    const most = 2 ** bits - 1;
    let value = (this.#block[this.#at++] as number) & most;
    if (value < most) {
      return value;
    }
    for (let factor = 1; ; factor *= 128) {
      const byte = this.#block[this.#at++];
      if (byte === undefined) {
        throw new Error("a header block ends within a number");
      }
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) {
        return value;
      }
    }
  }

  #text(): string {
    const isCoded = (this.#block[this.#at] as number) >= 0x80;
    const length = this.#integer(7);
    const bytes = this.#block.subarray(this.#at, this.#at + length);
    this.#at += length;
    return isCoded ? decodeHuffman(bytes) : bytes.toString("latin1");
  }
}

function sizeOf([name, value]: Field): number {
  return name.length + value.length + FIELD_OVERHEAD;
}

/** Appendix B: the characters whose codes have so many bits. The codes are canonical, so these tell them all. */
const BY_LENGTH: Readonly<Record<number, string>> = {
  5: "012aceiost",
  6: " %-./3456789=A_bdfghlmnpru",
  7: ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
  8: "&*,;XZ",
  10: '!"()?',
  11: "'+|",
  12: "#>",
  13: "\0$@[]~",
  14: "^}",
  15: "<`{",
};

/** By the code with a 1 before it. */
const HUFFMAN = new Map<number, string>();
let code = 0;
for (let length = 5; length <= 15; length++) {
  for (const character of BY_LENGTH[length] ?? "") {
    HUFFMAN.set(2 ** length + code++, character);
  }
  code *= 2;
}

/** Other characters than ASCII's are in no field that is looked at. */
function decodeHuffman(bytes: Buffer): string {
  let decoded = "";
  let prefixed = 1;
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      prefixed = prefixed * 2 + ((byte >> bit) & 1);
      const character = HUFFMAN.get(prefixed);
      if (character !== undefined) {
        decoded += character;
        prefixed = 1;
      }
    }
  }
  return decoded;
}
