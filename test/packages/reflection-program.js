// What a user of connect-grpc-reflection may write, in plain JavaScript: a server, and a client of either version.
import assert from "node:assert/strict";
import { createServer } from "node:http2";
import { fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { connectNodeAdapter, createGrpcTransport } from "@connectrpc/connect-node";
import { reflectionRoutes } from "connect-grpc-reflection";
import * as v1 from "connect-grpc-reflection/v1";
import * as v1alpha from "connect-grpc-reflection/v1alpha";

const server = createServer(connectNodeAdapter({ routes: reflectionRoutes([]) }));
await new Promise((resolve) => server.listen(0, () => resolve(undefined)));
const address = server.address();
assert(address !== null && typeof address === "object");
const transport = createGrpcTransport({ baseUrl: `http://localhost:${address.port}` });

async function* questions() {
  yield { messageRequest: { case: /** @type {const} */ ("listServices"), value: "" } };
  yield {
    messageRequest: {
      case: /** @type {const} */ ("fileContainingSymbol"),
      value: "grpc.reflection.v1.ServerReflection",
    },
  };
}

for (const client of [
  createClient(v1.ServerReflection, transport),
  createClient(v1alpha.ServerReflection, transport),
]) {
  const answers = [];
  for await (const { messageResponse } of client.serverReflectionInfo(questions())) {
    answers.push(messageResponse);
  }
  const [services, files, ...others] = answers;
  assert.equal(others.length, 0);
  assert(services?.case === "listServicesResponse");
  assert.deepEqual(
    services.value.service.map(({ name }) => name),
    ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"],
  );
  assert(files?.case === "fileDescriptorResponse");
  assert.deepEqual(
    files.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes).name),
    ["grpc/reflection/v1/reflection.proto"],
  );
}

process.exit();
