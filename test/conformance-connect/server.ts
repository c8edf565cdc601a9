// The server under test, as the runner starts it: it says on standard input what it needs, and is told on
// standard output where that listens. The argument is the descriptors of the runner's contract.
import { readFileSync } from "node:fs";
import { create, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import { listenOnePort } from "../../src/server/one-port.ts";
import { wireAdapter } from "../../src/server/wire-adapter.ts";
import { conformanceRoutes } from "./conformance-service.ts";
import { readContract, type ServerCompatRequest } from "./descriptors.ts";

const LENGTH_BYTES = 4;

const contract = readContract(process.argv[2] ?? "");
const asked: Message & Partial<ServerCompatRequest> = fromBinary(
  contract.message("ServerCompatRequest"),
  readFileSync(process.stdin.fd).subarray(LENGTH_BYTES),
);

const port = await listenOnePort({
  host: "127.0.0.1",
  port: 0,
  handler: wireAdapter({
    routes: conformanceRoutes(contract),
    fallback: (_request, response) => {
      response.statusCode = 404;
      response.end();
    },
    readMaxBytes: asked.messageReceiveLimit || 1024 * 1024,
    // As Latchkey's own; the registry is for the Any in the runner's messages.
    jsonOptions: { ignoreUnknownFields: false, registry: contract.registry },
  }),
  onError: (error) => process.stderr.write(`${error instanceof Error ? error.stack : error}\n`),
});

process.on("SIGTERM", () => process.exit());
const answer = toBinary(
  contract.message("ServerCompatResponse"),
  create(contract.message("ServerCompatResponse"), { host: port.address, port: port.port }),
);
const length = Buffer.alloc(LENGTH_BYTES);
length.writeUInt32BE(answer.length);
process.stdout.write(Buffer.concat([length, answer]));
