// HTTP/2 by hand, as strangers write it (RFC 9113, RFC 7541).
import { mintKey } from "../../src/credentials/secret-key.ts";
import {
  endOfStreamAndHeaders,
  frame,
  frameType,
  settings as noSettings,
  requestBlock,
} from "../server/http2-frames.ts";

export { frame, requestBlock };
export const { headers, rst, settings, windowUpdate, continuation } = frameType;
export const data = 0;
export const priority = 2;
export const ping = 6;
export const endOfStream = 1;
export const endOfHeaders = 4;

/** What a client begins with. */
export const preface = Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), noSettings]);

export function number(value: number): Buffer<ArrayBuffer> {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** RFC 7541 §6.2.2: a literal that is never indexed. */
function field(name: string, value: string): Buffer {
  const text = (of: string) => Buffer.concat([Buffer.of(of.length), Buffer.from(of)]);
  return Buffer.concat([Buffer.of(0), text(name), text(value)]);
}

/** Of a call, whose messages are to follow. */
export function beginning(path: string, contentType: string): (stream: number) => Buffer {
  const block = Buffer.concat([
    field(":method", "POST"),
    field(":scheme", "http"),
    field(":authority", "latchkey.test"),
    field(":path", path),
    field("content-type", contentType),
    field("te", "trailers"),
  ]);
  return (stream) => frame(headers, endOfHeaders, stream, block);
}

/** Makes the service ask its database: a key of the right form that nobody has. */
export const question = Buffer.from(
  JSON.stringify({ headers: [{ name: "X-API-Key", value: mintKey("ak").text }] }),
);
export const beginCall = beginning("/latchkey.v1.AuthenticationService/Authenticate", "application/json");
export const call = (stream: number) =>
  Buffer.concat([beginCall(stream), frame(data, endOfStream, stream, question)]);
/** A page that does not exist. */
export const page = (stream: number) => frame(headers, endOfStreamAndHeaders, stream, requestBlock);
export const cancel = (stream: number) => frame(rst, 0, stream, number(8));

/** gRPC's. */
export const envelope = (message: Uint8Array, flags = 0) =>
  Buffer.concat([Buffer.of(flags), number(message.length), message]);
