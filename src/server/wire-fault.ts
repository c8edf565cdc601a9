import { Code, ConnectError, type Interceptor, type StreamRequest } from "@connectrpc/connect";
import { type WireCall, wireCallKey } from "./wire-call.ts";
import { WireRefusal } from "./wire-refusal.ts";

/**
 * What protobuf says of JSON that does not fit. The rest of it repeats values, passwords among them, and may be
 * long: gRPC's message is a header, of which clients take few KiB.
 */
const JSON_FAULT = /^cannot decode \w+ [\w.]+ from JSON(?:: key "\w{1,64}" is unknown)?/;

/**
 * What Connect threw while it read a call, as it should be told: with the code that the protocol publishes,
 * and nothing of what the client sent.
 */
export function refusalOf(thrown: unknown, call: WireCall): WireRefusal {
  if (thrown instanceof WireRefusal) {
    return thrown;
  }
  if (!(thrown instanceof ConnectError)) {
    // Connect throws none but its own here, so this is how the end of the service looks from inside a call.
    return new WireRefusal(Code.Unavailable, "the service is ending");
  }
  const said = thrown.rawMessage;
  if (said.startsWith("parse binary: ")) {
    return new WireRefusal(Code.InvalidArgument, "the message is not valid protobuf");
  }
  if (said === "decompression failed") {
    // gRPC's statuscodes.md has a code for it. Connect's protocol has none, so it is as any malformed message.
    const isConnect = call.protocol === "connect" || call.protocol === "connect-stream";
    return new WireRefusal(isConnect ? Code.InvalidArgument : Code.Internal, said);
  }
  if (thrown.code === Code.InvalidArgument && thrown.cause !== undefined) {
    return new WireRefusal(thrown.code, JSON_FAULT.exec(said)?.[0] ?? "the message is not valid JSON");
  }
  return new WireRefusal(thrown.code, said);
}

/**
 * Notes that a call got this far. The messages of a stream are read later, so their faults come up inside
 * of what handles it; they leave as they would have before, whatever the other interceptors made of them.
 *
 * Has to be the outermost.
 */
export const wireInterceptor: Interceptor = (next) => async (request) => {
  const call = request.contextValues.get(wireCallKey);
  if (call === undefined) {
    return await next(request);
  }
  call.isReached = true;
  if (!request.stream) {
    return await next(request);
  }
  let refusal: WireRefusal | undefined;
  const refuse = (thrown: unknown) => {
    refusal = refusalOf(thrown, call);
    return refusal;
  };
  const rethrow = (thrown: unknown) =>
    refusal === undefined
      ? thrown
      : new WireRefusal(refusal.code, refusal.rawMessage, ConnectError.from(thrown).metadata);
  try {
    const response = await next({ ...request, message: mapError(request.message, refuse) });
    return response.stream ? { ...response, message: mapError(response.message, rethrow) } : response;
  } catch (thrown) {
    throw rethrow(thrown);
  }
};

async function* mapError(
  messages: StreamRequest["message"],
  map: (thrown: unknown) => unknown,
): StreamRequest["message"] {
  try {
    yield* messages;
  } catch (thrown) {
    throw map(thrown);
  }
}
