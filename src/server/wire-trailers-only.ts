import type { UniversalServerResponse } from "@connectrpc/connect/protocol";

/**
 * Tells the status of a unary call of gRPC that has no message in its first headers, which end the stream: gRPC's
 * "Trailers-Only" (grpc/grpc, doc/PROTOCOL-HTTP2.md). A client takes any other headers for the begin of an answer,
 * and does not try again what `unavailable` asks it to (gRFC A6, "When retries are valid").
 */
export async function trailersOnly(answer: UniversalServerResponse): Promise<UniversalServerResponse> {
  const { header, body, trailer } = answer;
  if (trailer === undefined || header === undefined) {
    return answer;
  }
  const messages = body?.[Symbol.asyncIterator]();
  const first = await messages?.next();
  if (messages !== undefined && first !== undefined && first.done !== true) {
    return { ...answer, body: startingWith(first.value, messages) };
  }
  const status = new Headers(header);
  trailer.forEach((value, name) => {
    status.set(name, value);
  });
  return { status: answer.status, header: status };
}

async function* startingWith<Message>(first: Message, rest: AsyncIterator<Message>): AsyncIterable<Message> {
  let isDone = false;
  try {
    yield first;
    for (;;) {
      const next = await rest.next();
      if (next.done === true) {
        isDone = true;
        return;
      }
      yield next.value;
    }
  } finally {
    if (!isDone) {
      await rest.return?.();
    }
  }
}
