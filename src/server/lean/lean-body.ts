import { Readable } from "node:stream";

export interface BodyReader {
  /** Told of all of it, once it has come. */
  readonly whole: (body: Buffer) => void;
  /** Told where it is longer than was asked for. It begins with what was read. */
  readonly tooLong: (body: Readable) => void;
}

/**
 * Reads a body.
 *
 * @param most in bytes.
 * @returns what lets go of it: the rest flows away.
 */
export function readBody(source: Readable, most: number, { whole, tooLong }: BodyReader): () => void {
  const pieces: Buffer[] = [];
  let length = 0;
  const read = (piece: Buffer) => {
    pieces.push(piece);
    length += piece.length;
    if (length > most) {
      stop();
      source.pause();
      tooLong(Readable.from(startingWith(pieces, source)));
    }
  };
  const end = () => {
    const [only] = pieces;
    whole(pieces.length === 1 && only !== undefined ? only : Buffer.concat(pieces, length));
  };
  const stop = () => {
    source.off("data", read).off("end", end);
  };
  source.on("data", read).on("end", end);
  return () => {
    stop();
    source.resume();
  };
}

async function* startingWith(pieces: readonly Buffer[], rest: Readable): AsyncGenerator<Buffer> {
  yield* pieces;
  yield* rest.iterator({ destroyOnReturn: false });
}
