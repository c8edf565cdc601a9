import { createServer, type ServerHttp2Stream } from "node:http2";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  AuthenticateRequestSchema,
  AuthenticateResponseSchema,
} from "../../src/gen/latchkey/v1/authentication_pb.ts";
import { announce, answersPath } from "./announce.ts";
import { loadLookup } from "./lookup.ts";

// gRPC in as few lines as there can be: Node's stream handler, the framing by hand, no deadline, no compression.

const lookup = loadLookup(answersPath());
const RESPONSE = { ":status": 200, "content-type": "application/grpc+proto" };
const PREFIX = 5;

const server = createServer();
server.on("stream", (stream) => {
  const chunks: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  stream.on("end", () => answer(stream, chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)));
});

function answer(stream: ServerHttp2Stream, body: Buffer): void {
  const found = lookup(fromBinary(AuthenticateRequestSchema, body.subarray(PREFIX)));
  if (found === undefined) {
    stream.respond({ ...RESPONSE, "grpc-status": "16" }, { endStream: true });
    return;
  }
  const message = toBinary(AuthenticateResponseSchema, found);
  const framed = Buffer.allocUnsafe(PREFIX + message.length);
  framed.writeUInt8(0, 0);
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, PREFIX);
  stream.respond(RESPONSE, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.end(framed);
}

await announce({ grpc: server });
