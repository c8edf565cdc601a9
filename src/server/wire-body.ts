import type { Readable } from "node:stream";
import { Code, ConnectError } from "@connectrpc/connect";
import { WireRefusal } from "./wire-refusal.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * What a client sends, until the call's deadline. What is left then, or when the reader has enough, flows
 * away. To destroy it, as the stream's own iterator does, would take the answer along over HTTP/1.1, and to
 * reset it over HTTP/2 (gRPC's "Early Server Closure") makes Node's own client drop the answer.
 *
 * @param signal of the call, known when the first byte is asked for.
 */
export async function* readBody(
  body: Readable,
  signal: () => AbortSignal | undefined,
): AsyncGenerator<Bytes> {
  const chunks: AsyncIterator<Bytes> = body.iterator({ destroyOnReturn: false });
  try {
    for (;;) {
      const next = await untilDeadline(chunks.next(), signal());
      if (next.done === true) {
        return;
      }
      yield next.value;
    }
  } finally {
    // Not awaited: after the deadline this waits for what may never come.
    void chunks.return?.().then(
      () => body.resume(),
      () => {},
    );
  }
}

function untilDeadline<T>(read: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) {
    return read;
  }
  return new Promise((resolve, reject) => {
    const abort = () => {
      // Not where the service ends: calls that are on their way are answered first.
      if (signal.reason instanceof ConnectError && signal.reason.code === Code.DeadlineExceeded) {
        reject(signal.reason);
      }
    };
    if (signal.aborted) {
      abort();
    }
    signal.addEventListener("abort", abort, { once: true });
    read.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Of an envelope: one byte of flags, four of length. */
const HEAD_LENGTH = 5;
const COMPRESSED = 1;

/**
 * Lets the bytes of enveloped messages through, and throws at an envelope that has a flag which no request
 * may have, and where the last one is not whole.
 */
export async function* checkEnvelopes(chunks: AsyncIterable<Bytes>): AsyncGenerator<Bytes> {
  const head = Buffer.alloc(HEAD_LENGTH);
  let headLength = 0;
  let messageLeft = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; ) {
      const part = chunk.subarray(at, at + (messageLeft || HEAD_LENGTH - headLength));
      at += part.length;
      if (messageLeft > 0) {
        messageLeft -= part.length;
        continue;
      }
      head.set(part, headLength);
      headLength += part.length;
      if (headLength === HEAD_LENGTH) {
        if ((head.readUInt8(0) & ~COMPRESSED) !== 0) {
          throw new WireRefusal(Code.InvalidArgument, "a message has a flag that requests cannot have");
        }
        messageLeft = head.readUInt32BE(1);
        headLength = 0;
      }
    }
    yield chunk;
  }
  if (headLength + messageLeft > 0) {
    throw new WireRefusal(Code.InvalidArgument, "the last message is cut short");
  }
}
