import { createServer, type ServerResponse } from "node:http";
import { fromBinary, fromJsonString, toBinary, toJsonString } from "@bufbuild/protobuf";
import {
  type AuthenticateRequest,
  AuthenticateRequestSchema,
  type AuthenticateResponse,
  AuthenticateResponseSchema,
} from "../../src/gen/latchkey/v1/authentication_pb.ts";

// Connect's unary protocol over HTTP/1.1 in as few lines as there can be.

/** A server that answers with what is found, or 401. */
export function serveConnect(
  find: (
    request: AuthenticateRequest,
  ) => AuthenticateResponse | undefined | Promise<AuthenticateResponse | undefined>,
) {
  return createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
      const isJson = request.headers["content-type"] === "application/json";
      const asked = isJson
        ? fromJsonString(AuthenticateRequestSchema, body.toString())
        : fromBinary(AuthenticateRequestSchema, body);
      const found = find(asked);
      if (found instanceof Promise) {
        void found.then((answer) => respond(response, isJson, answer));
      } else {
        respond(response, isJson, found);
      }
    });
  });
}

function respond(response: ServerResponse, isJson: boolean, found: AuthenticateResponse | undefined): void {
  if (found === undefined) {
    response.writeHead(401, { "content-type": "application/json" }).end('{"code":"unauthenticated"}');
    return;
  }
  const body = isJson
    ? Buffer.from(toJsonString(AuthenticateResponseSchema, found))
    : toBinary(AuthenticateResponseSchema, found);
  const type = isJson ? "application/json" : "application/proto";
  response.writeHead(200, { "content-type": type, "content-length": body.length }).end(body);
}
