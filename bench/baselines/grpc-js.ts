import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData, status } from "@grpc/grpc-js";
import {
  type AuthenticateRequest,
  AuthenticateRequestSchema,
  type AuthenticateResponse,
  AuthenticateResponseSchema,
} from "../../src/gen/latchkey/v1/authentication_pb.ts";
import { answersPath } from "./announce.ts";
import { loadLookup, METHOD } from "./lookup.ts";

const lookup = loadLookup(answersPath());
const server = new Server();
server.addService(
  {
    authenticate: {
      path: METHOD,
      requestStream: false,
      responseStream: false,
      requestDeserialize: (bytes: Buffer) => fromBinary(AuthenticateRequestSchema, bytes),
      requestSerialize: (message: AuthenticateRequest) =>
        Buffer.from(toBinary(AuthenticateRequestSchema, message)),
      responseDeserialize: (bytes: Buffer) => fromBinary(AuthenticateResponseSchema, bytes),
      responseSerialize: (message: AuthenticateResponse) =>
        Buffer.from(toBinary(AuthenticateResponseSchema, message)),
    },
  },
  {
    authenticate(
      { request }: ServerUnaryCall<AuthenticateRequest, AuthenticateResponse>,
      answer: sendUnaryData<AuthenticateResponse>,
    ) {
      const found = lookup(request);
      if (found === undefined) {
        answer({ code: status.UNAUTHENTICATED, details: "" });
      } else {
        answer(null, found);
      }
    },
  },
);
server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) {
    throw error;
  }
  process.stdout.write(`${JSON.stringify({ ports: { grpc: port } })}\n`);
});
process.stdin.on("end", () => process.exit()).resume();
