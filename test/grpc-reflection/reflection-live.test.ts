import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect } from "node:http2";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { HealthStatus, healthRoutes } from "../../src/grpc-health/index.ts";
import {
  ServerReflection,
  type ServerReflectionRequest,
  ServerReflectionRequestSchema,
} from "../../src/grpc-reflection/gen/grpc/reflection/v1/reflection_pb.ts";
import { reflectionRoutes } from "../../src/grpc-reflection/index.ts";
import { serveHttp2 } from "../grpc-health/live-server.ts";
import { buf, fixtureFile, fixtureService } from "./fixture-files.ts";

const run = promisify(execFile);

const health = new HealthStatus();
health.set("", "SERVING");

function routes(router: ConnectRouter) {
  healthRoutes(health)(router);
  router.service(fixtureService("acme.Pets"), {});
  // As the README says: of everything that the router serves.
  reflectionRoutes(
    router.handlers.map((handler) => handler.service),
    [fixtureFile("acme/legacy_more.proto")],
  )(router);
}

const lines = (text: string) => text.trim().split("\n");

for (const version of ["grpc-v1", "grpc-v1alpha"]) {
  const flags = ["curl", "--http2-prior-knowledge", "--reflect-protocol", version];

  test(`buf curl lists services and methods over ${version}`, async (t) => {
    const { url } = await serveHttp2(t, { routes });
    const services = await run(buf, [...flags, "--list-services", url]);
    assert.deepEqual(lines(services.stdout), [
      "acme.Pets",
      "grpc.health.v1.Health",
      "grpc.reflection.v1.ServerReflection",
      "grpc.reflection.v1alpha.ServerReflection",
    ]);
    const methods = await run(buf, [...flags, "--list-methods", url]);
    assert.deepEqual(lines(methods.stdout), [
      "acme.Pets/Adopt",
      "grpc.health.v1.Health/Check",
      "grpc.health.v1.Health/List",
      "grpc.health.v1.Health/Watch",
      "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
      "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ]);
  });

  for (const protocol of ["grpc", "grpcweb", "connect"]) {
    test(`buf curl calls a method over ${protocol} knowing nothing but ${version}`, async (t) => {
      const { url } = await serveHttp2(t, { routes });
      const call = [...flags, "--protocol", protocol, "--data", "{}", `${url}/grpc.health.v1.Health/Check`];
      assert.deepEqual(JSON.parse((await run(buf, call)).stdout), { status: "SERVING" });
    });
  }
}

/** Runs grpcurl, or skips the test where there is none. */
async function grpcurl(t: TestContext, ...parameters: string[]): Promise<string | undefined> {
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), join(homedir(), "go", "bin")];
  const command = folders.map((folder) => join(folder, "grpcurl")).find(existsSync);
  if (command === undefined) {
    t.skip("grpcurl is not installed: go install github.com/fullstorydev/grpcurl/cmd/grpcurl@latest");
    return undefined;
  }
  const { url } = await serveHttp2(t, { routes });
  const { stdout } = await run(command, [
    "-plaintext",
    ...parameters.map((p) => p.replace("HOST", new URL(url).host)),
  ]);
  return stdout;
}

test("grpcurl lists the services", async (t) => {
  const listed = await grpcurl(t, "HOST", "list");
  if (listed !== undefined) {
    assert.deepEqual(lines(listed), [
      "acme.Pets",
      "grpc.health.v1.Health",
      "grpc.reflection.v1.ServerReflection",
      "grpc.reflection.v1alpha.ServerReflection",
    ]);
  }
});

for (const [symbol, words] of [
  ["acme.Pets", ["rpc Adopt ( .acme.Pet ) returns ( stream .acme.Pet )", 'permission: "pets.adopt"']],
  ["acme.Pets.Adopt", ["rpc Adopt ( .acme.Pet ) returns ( stream .acme.Pet )"]],
  ["acme.Pet", ["oneof home", "map<string, .acme.Pet.Address> visits = 5", "(.acme.secret) = true"]],
  ["acme.Pet.Address.Kind", ["FARM = 1"]],
  ["acme.Legacy", ["extensions 100 to 199", "optional group Cage = 1"]],
  ["acme.Tag", ["optional .acme.Tag tag = 101"]],
] as const) {
  test(`grpcurl describes ${symbol} as its source does`, async (t) => {
    const described = await grpcurl(t, "HOST", "describe", symbol);
    if (described !== undefined) {
      for (const word of words) {
        assert.ok(described.includes(word), `${word} is not in: ${described}`);
      }
    }
  });
}

test("grpcurl calls a method", async (t) => {
  const answer = await grpcurl(t, "-d", '{"service": ""}', "HOST", "grpc.health.v1.Health/Check");
  if (answer !== undefined) {
    assert.deepEqual(JSON.parse(answer), { status: "SERVING" });
  }
});

/** Opens a stream of reflection, has one answer, and leaves the stream open without another question. */
async function openStream(t: TestContext, shutdownSignal = new AbortController().signal) {
  const server = await serveHttp2(t, { routes, shutdownSignal });
  const sessionManager = new Http2SessionManager(server.url);
  t.after(() => sessionManager.abort());
  const client = createClient(ServerReflection, createGrpcTransport({ baseUrl: server.url, sessionManager }));
  const more = Promise.withResolvers<void>();
  t.after(() => more.resolve());
  const requests = async function* (): AsyncGenerator<ServerReflectionRequest> {
    yield create(ServerReflectionRequestSchema, { messageRequest: { case: "listServices", value: "" } });
    await more.promise;
  };
  const answers = client.serverReflectionInfo(requests())[Symbol.asyncIterator]();
  assert.equal((await answers.next()).value?.messageResponse.case, "listServicesResponse");
  return { answers, server, endOfRequests: more.resolve };
}

const hasCode = (code: Code) => (error: unknown) => ConnectError.from(error).code === code;

test("a stream ends when its client has no more questions", async (t) => {
  const { answers, endOfRequests } = await openStream(t);
  endOfRequests();
  assert.equal((await answers.next()).done, true);
});

test("a stream that waits for its client is ended by the server at its deadline", async (t) => {
  const { url } = await serveHttp2(t, { routes });
  const session = connect(url);
  t.after(() => session.destroy());
  // By hand, since a client of gRPC ends its own half at the deadline too.
  const stream = session.request(
    {
      ":method": "POST",
      ":path": "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
      "content-type": "application/grpc",
      te: "trailers",
      "grpc-timeout": "50m",
    },
    { endStream: false },
  );
  stream.resume();
  const [trailers] = await once(stream, "trailers");
  assert.equal(trailers["grpc-status"], String(Code.DeadlineExceeded));
});

test("a stream that waits for its client ends with what the shutdown signal says, and the drain with it", async (t) => {
  const shutdown = new AbortController();
  const { answers, server, endOfRequests } = await openStream(t, shutdown.signal);
  const draining = server.drain();
  shutdown.abort(new ConnectError("restarting", Code.Unavailable));
  await assert.rejects(answers.next(), hasCode(Code.Unavailable));
  endOfRequests(); // connect-node leaves the client's half of a stream open after an error; grpc-go does not
  await draining;
});
