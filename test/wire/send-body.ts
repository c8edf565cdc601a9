import assert from "node:assert/strict";
import { connect } from "node:http2";
import { Code } from "@connectrpc/connect";
import type { Protocol } from "../support/service.ts";
import { callHttp1, type Field } from "./raw-call.ts";

/** Longer than any answer takes. */
const PATIENCE_MILLIS = 10_000;

/** What a call is made over, and how its message is written. */
export interface Wire {
  readonly protocol: Protocol;
  readonly http: "1.1" | "2";
}

export interface Message {
  readonly bytes: Buffer;
  /** Where the bytes are compressed. */
  readonly encoding?: "gzip" | "br";
}

const CONTENT_TYPES: Readonly<Record<Protocol, string>> = {
  grpc: "application/grpc+proto",
  "grpc-web": "application/grpc-web+proto",
  "connect proto": "application/proto",
  "connect json": "application/json",
};

/**
 * Sends bytes for a message, whatever they are.
 *
 * @returns `ok`, the code that it was refused with, or the status where HTTP itself refused it.
 */
export async function sendBody(
  port: number,
  { protocol, http }: Wire,
  path: string,
  fields: readonly Field[],
  { bytes, encoding }: Message,
): Promise<string> {
  const isConnect = protocol.startsWith("connect");
  const body = isConnect ? bytes : enveloped(bytes, encoding !== undefined);
  const header: Field[] = [["content-type", CONTENT_TYPES[protocol]], ...fields];
  if (encoding !== undefined) {
    header.push([isConnect ? "content-encoding" : "grpc-encoding", encoding]);
  }
  const answer =
    http === "1.1"
      ? await callHttp1(port, path, header, body)
      : await callOverSession(port, path, header, body);
  if (answer.status !== 200 && answer.body.length === 0) {
    return `HTTP ${answer.status}`;
  }
  if (isConnect) {
    return answer.status === 200 ? "ok" : JSON.parse(answer.body.toString()).code;
  }
  const trailer = "trailer" in answer ? answer.trailer : "";
  const status = /grpc-status: ?(\d+)/.exec(trailer + answer.body.toString("latin1"))?.[1];
  assert.ok(status !== undefined, "gRPC ends with a status");
  return status === "0" ? "ok" : snakeCase(Code[Number(status)] ?? status);
}

/** A message of gRPC: a byte of flags and the length before it. */
function enveloped(bytes: Buffer, isCompressed: boolean): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(isCompressed ? 1 : 0, 0);
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

async function callOverSession(port: number, path: string, fields: readonly Field[], body: Buffer) {
  const isGrpc = fields.some(([, value]) => value === CONTENT_TYPES.grpc);
  // The default is exceeded by the body itself.
  const session = connect(`http://127.0.0.1:${port}`, { maxSessionMemory: 64 });
  try {
    return await new Promise<{ status: number; trailer: string; body: Buffer }>((resolve, reject) => {
      const request = session.request({
        ":method": "POST",
        ":path": path,
        te: "trailers",
        ...Object.fromEntries(fields),
      });
      const pieces: Buffer[] = [];
      let status = 0;
      let trailer = "";
      const write = (headers: object) =>
        Object.entries(headers)
          .map(([name, value]) => `${name}: ${value}\n`)
          .join("");
      request.on("response", (headers) => {
        status = headers[":status"] ?? 0;
        trailer = write(headers);
      });
      request.on("trailers", (headers) => {
        trailer += write(headers);
      });
      request.on("data", (piece: Buffer) => pieces.push(piece));
      // Not "close" alone: who still sends would be waited for.
      let hasEnded = false;
      const settle = (isOver: boolean) => {
        if (isOver) {
          resolve({ status, trailer, body: Buffer.concat(pieces) });
        }
      };
      request.on("end", () => {
        hasEnded = true;
        settle(!isGrpc || trailer.includes("grpc-status"));
      });
      request.on("trailers", () => settle(hasEnded));
      request.on("close", () => settle(true));
      request.setTimeout(PATIENCE_MILLIS, () => reject(new Error("no answer")));
      request.on("error", reject);
      request.end(body);
    });
  } finally {
    session.destroy();
  }
}

function snakeCase(name: string): string {
  return name.replace(/(?!^)[A-Z]/g, (letter) => `_${letter}`).toLowerCase();
}
