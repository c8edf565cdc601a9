import { base64Decode } from "@bufbuild/protobuf/wire";
import { Code } from "@connectrpc/connect";
import type { UniversalServerResponse } from "@connectrpc/connect/protocol";
import { WireRefusal } from "./wire-refusal.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Undoes the base64 of `application/grpc-web-text` (grpc/grpc, doc/PROTOCOL-WEB.md). */
export async function* decodeText(chunks: AsyncIterable<Bytes>): AsyncGenerator<Bytes> {
  let rest = "";
  for await (const chunk of chunks) {
    const text = rest + Buffer.from(chunk).toString("latin1");
    const whole = text.length - (text.length % 4);
    rest = text.slice(whole);
    yield decode(text.slice(0, whole));
  }
  if (rest !== "") {
    throw notBase64();
  }
}

/**
 * Puts an answer of gRPC-Web in base64 where its client wants that: it says so, or speaks so itself. Each
 * piece has padding of its own, so that it can be read as soon as it comes.
 */
export function textAnswer(
  answer: UniversalServerResponse,
  accept: string,
  sendsText: boolean,
): UniversalServerResponse {
  const isWanted =
    accept.includes("application/grpc-web-text") || (sendsText && !accept.includes("application/grpc-web"));
  const { header, body } = answer;
  const isBinary = /^application\/grpc-web(\+proto)?$/.test(header?.get("content-type") ?? "");
  if (!isWanted || !isBinary || header === undefined || body === undefined) {
    return answer;
  }
  header.set("content-type", "application/grpc-web-text+proto");
  return { ...answer, header, body: encodeText(body) };
}

async function* encodeText(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Bytes> {
  for await (const chunk of chunks) {
    yield Buffer.from(Buffer.from(chunk).toString("base64"), "latin1");
  }
}

/** Padding may stand inside, wherever the sender flushed. */
function decode(text: string): Bytes {
  try {
    return base64Decode(text);
  } catch {
    throw notBase64();
  }
}

function notBase64(): WireRefusal {
  return new WireRefusal(Code.InvalidArgument, "the body is not base64");
}
