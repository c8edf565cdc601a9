import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fromBinary } from "@bufbuild/protobuf";
import {
  type AuthenticateRequest,
  type AuthenticateResponse,
  AuthenticateResponseSchema,
} from "../../src/gen/latchkey/v1/authentication_pb.ts";

/** What every baseline does for a request: the API key out of the headers, its SHA-256, an entry of a Map. */
export type Lookup = (request: AuthenticateRequest) => AuthenticateResponse | undefined;

export const METHOD = "/latchkey.v1.AuthenticationService/Authenticate";

/** Reads the answers that Latchkey itself has given: lines of a key and, in base64, the message. */
export function loadLookup(path: string): Lookup {
  const answers = new Map<string, AuthenticateResponse>();
  for (const line of readFileSync(path, "utf8").trimEnd().split("\n")) {
    const [key = "", answer = ""] = line.split(" ");
    answers.set(digestOf(key), fromBinary(AuthenticateResponseSchema, Buffer.from(answer, "base64")));
  }
  return (request) => answers.get(digestOf(apiKeyOf(request)));
}

export function digestOf(key: string): string {
  return hash("sha256", key, "base64");
}

export function apiKeyOf({ headers }: AuthenticateRequest): string {
  return headers.find(({ name }) => name.toLowerCase() === "x-api-key")?.value ?? "";
}
