import { create, fromBinary, fromJsonString, toBinary, toJsonString } from "@bufbuild/protobuf";
import { mintKey } from "../src/credentials/secret-key.ts";
import {
  type AuthenticateRequest,
  AuthenticateRequestSchema,
  type AuthenticateResponse,
  AuthenticateResponseSchema,
  BatchAuthenticateRequestSchema,
  BatchAuthenticateResponseSchema,
} from "../src/gen/latchkey/v1/authentication_pb.ts";
import type { Key, Token } from "./fixture/populate.ts";
import type { Answer } from "./load/connection.ts";

/** How a question and its answer are written. */
export type Protocol = "grpc" | "connect proto" | "connect json";

/** Something to ask, and what is right to be answered. */
export interface Question {
  readonly message: AuthenticateRequest;
  /** The principal that it must be answered with. Undefined: it must be refused. */
  readonly principalId: string | undefined;
}

/** The headers of a request of a browser's, as its edge passes them on: eight, with one credential. */
function headersWith(name: string, value: string) {
  return [
    { name: "Host", value: "api.example.com" },
    {
      name: "User-Agent",
      value:
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    },
    { name: "Accept", value: "application/json, text/plain, */*" },
    { name: "Accept-Encoding", value: "gzip, deflate, br, zstd" },
    { name: "Accept-Language", value: "en-GB,en;q=0.9,de;q=0.8" },
    { name: "Content-Type", value: "application/json" },
    { name: "Traceparent", value: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" },
    { name, value },
  ];
}

function questionWith(name: string, value: string, principalId: string | undefined): Question {
  return { message: create(AuthenticateRequestSchema, { headers: headersWith(name, value) }), principalId };
}

export const aboutApiKey = ({ text, id }: Key) => questionWith("X-API-Key", text, id);
export const aboutServiceKey = ({ text, id }: Key) => questionWith("X-Internal-Key", text, id);
export const aboutToken = ({ text, userId }: Token) =>
  questionWith("Authorization", `Bearer ${text}`, userId);
/** Well-formed to the last digit, and nobody's. */
export const aboutUnknownKey = () => questionWith("X-API-Key", mintKey("ak").text, undefined);
/** It begins like a key, and its checksum is wrong. */
export const aboutGarbage = () => {
  const { text } = mintKey("ak");
  return questionWith("X-API-Key", `${text.slice(0, -1)}${text.endsWith("0") ? "1" : "0"}`, undefined);
};

export function encode(protocol: Protocol, message: AuthenticateRequest): Uint8Array {
  return protocol === "connect json"
    ? Buffer.from(toJsonString(AuthenticateRequestSchema, message))
    : toBinary(AuthenticateRequestSchema, message);
}

export function decode(protocol: Protocol, message: Buffer): AuthenticateResponse {
  return protocol === "connect json"
    ? fromJsonString(AuthenticateResponseSchema, message.toString())
    : fromBinary(AuthenticateResponseSchema, message);
}

/** The status of an answer: of gRPC its own, of Connect that of HTTP. */
export function statusOf(protocol: Protocol, isAllowed: boolean): string {
  if (protocol === "grpc") {
    return isAllowed ? "0" : "16";
  }
  return isAllowed ? "200" : "401";
}

/** @throws Error unless it is the answer to the question, whole. */
export function checkAnswer(protocol: Protocol, { principalId }: Question, { message }: Answer): void {
  if (principalId === undefined) {
    return;
  }
  checkResponse(decode(protocol, message), principalId);
}

function checkResponse(response: AuthenticateResponse, principalId: string): void {
  const { principal, permissions, credential, stripHeaders } = response;
  if (
    principal?.id !== principalId ||
    permissions.length === 0 ||
    credential === undefined ||
    stripHeaders.length === 0
  ) {
    throw new Error(`an answer is not about the principal ${principalId}, or not whole`);
  }
}

export function encodeBatch(questions: readonly Question[]): Uint8Array {
  const requests = questions.map(({ message }) => message);
  return toBinary(BatchAuthenticateRequestSchema, create(BatchAuthenticateRequestSchema, { requests }));
}

/** @throws Error unless each is answered, in order. */
export function checkBatch(questions: readonly Question[], { message }: Answer): void {
  const { results } = fromBinary(BatchAuthenticateResponseSchema, message);
  if (results.length !== questions.length) {
    throw new Error(`${questions.length} were asked at once, and ${results.length} answered`);
  }
  for (const [at, { outcome }] of results.entries()) {
    if (outcome.case !== "response") {
      throw new Error(`of several asked at once, number ${at} was refused`);
    }
    checkResponse(outcome.value, questions[at]?.principalId ?? "");
  }
}
