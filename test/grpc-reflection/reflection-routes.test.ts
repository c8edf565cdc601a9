import assert from "node:assert/strict";
import { test } from "node:test";
import { fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, createClient, createRouterTransport } from "@connectrpc/connect";
import { Health } from "../../src/grpc-health/gen/grpc/health/v1/health_pb.ts";
import * as v1 from "../../src/grpc-reflection/gen/grpc/reflection/v1/reflection_pb.ts";
import * as v1alpha from "../../src/grpc-reflection/gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { reflectionRoutes } from "../../src/grpc-reflection/index.ts";
import { fixtureFile, fixtureService } from "./fixture-files.ts";

const transport = createRouterTransport(
  reflectionRoutes([fixtureService("acme.Pets"), Health, fixtureService("acme.Archive")]),
);

type Ask = MessageInitShape<typeof v1.ServerReflectionRequestSchema>["messageRequest"];

async function* requests(questions: Ask[]) {
  for (const messageRequest of questions) {
    yield { host: "pets.example", ...(messageRequest && { messageRequest }) };
  }
}

/** Puts the questions on one stream. */
const versions = {
  v1: (...questions: Ask[]) =>
    Array.fromAsync(createClient(v1.ServerReflection, transport).serverReflectionInfo(requests(questions))),
  v1alpha: (...questions: Ask[]) =>
    Array.fromAsync(
      // The two differ in the names of their types only.
      createClient(v1alpha.ServerReflection, transport).serverReflectionInfo(requests(questions) as never),
    ),
};

const symbol = (value: string): Ask => ({ case: "fileContainingSymbol", value });

for (const [version, ask] of Object.entries(versions)) {
  /** The answers to questions on one stream: the names of the files, or what else there is. */
  const answers = async (...questions: Ask[]) =>
    (await ask(...questions)).map(({ messageResponse: { case: kind, value } }) => {
      switch (kind) {
        case "fileDescriptorResponse":
          return value.fileDescriptorProto.map((file) => fromBinary(FileDescriptorProtoSchema, file).name);
        case "allExtensionNumbersResponse":
          return { [value.baseTypeName]: value.extensionNumber };
        case "listServicesResponse":
          return value.service.map(({ name }) => name);
        case "errorResponse":
          return Code[value.errorCode];
        default:
          return kind;
      }
    });

  test(`${version} lists the services that were given and itself, in order`, async () => {
    assert.deepEqual(await answers({ case: "listServices", value: "*" }), [
      [
        "acme.Archive",
        "acme.Pets",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
      ],
    ]);
  });

  test(`${version} answers each kind of question with the file and all of its imports`, async () => {
    const legacyMore = ["acme/legacy_more.proto", "acme/legacy.proto"];
    assert.deepEqual(await answers({ case: "fileByFilename", value: "acme/options.proto" }), [
      ["acme/options.proto", "google/protobuf/descriptor.proto"],
    ]);
    assert.deepEqual(await answers(symbol("acme.Tag")), [legacyMore]);
    assert.deepEqual(
      await answers({
        case: "fileContainingExtension",
        value: { containingType: "acme.Legacy", extensionNumber: 101 },
      }),
      [legacyMore],
    );
    assert.deepEqual(await answers({ case: "allExtensionNumbersOfType", value: "acme.Legacy" }), [
      { "acme.Legacy": [101, 150] },
    ]);
    assert.deepEqual(await answers({ case: "allExtensionNumbersOfType", value: "acme.Plain" }), [
      { "acme.Plain": [] },
    ]);
  });

  test(`${version} sends an import once a stream, and the file that is asked for always`, async () => {
    const questions = [
      symbol("acme.Pets"),
      symbol("acme.Archive"),
      symbol("acme.Pets"),
      symbol("acme.Access"),
    ];
    const expected = [
      [
        "acme/pets.proto",
        "acme/options.proto",
        "google/protobuf/descriptor.proto",
        "google/protobuf/timestamp.proto",
      ],
      ["acme/legacy_service.proto", "acme/legacy.proto", "acme/legacy_more.proto"],
      ["acme/pets.proto"],
      ["acme/options.proto"],
    ];
    assert.deepEqual(await answers(...questions), expected);
    assert.deepEqual(await answers(...questions), expected, "another stream begins anew");
  });

  test(`${version} answers what it does not know with an error, and the stream goes on`, async () => {
    assert.deepEqual(
      await answers(
        { case: "fileByFilename", value: "acme/unheard.proto" },
        symbol("acme.Unheard"),
        { case: "fileContainingExtension", value: { containingType: "acme.Legacy", extensionNumber: 199 } },
        { case: "fileContainingExtension", value: {} },
        { case: "allExtensionNumbersOfType", value: "acme.Unheard" },
        undefined,
        symbol("acme.Plain"),
      ),
      ["NotFound", "NotFound", "NotFound", "NotFound", "NotFound", "InvalidArgument", ["acme/legacy.proto"]],
    );
  });

  test(`${version} gives back the request and its host with each answer`, async () => {
    const asked: Ask[] = [symbol("acme.Pets"), symbol("acme.Unheard"), { case: "listServices", value: "*" }];
    const given = await ask(...asked);
    assert.deepEqual(
      given.map(({ validHost, originalRequest }) => [
        validHost,
        originalRequest?.host,
        originalRequest?.messageRequest,
      ]),
      asked.map((question) => ["pets.example", "pets.example", question]),
    );
  });
}

test("codes of errors are those of gRPC", async () => {
  const [unknown, unset] = await versions.v1(symbol("acme.Unheard"), undefined);
  assert.equal(
    unknown?.messageResponse.case === "errorResponse" && unknown.messageResponse.value.errorCode,
    5,
  );
  assert.equal(unset?.messageResponse.case === "errorResponse" && unset.messageResponse.value.errorCode, 3);
});

/** The answer to one question from a server that tells of these services and files. */
async function askOnce(routes: ReturnType<typeof reflectionRoutes>, question: Ask) {
  const client = createClient(v1.ServerReflection, createRouterTransport(routes));
  const [answer] = await Array.fromAsync(client.serverReflectionInfo(requests([question])));
  return answer?.messageResponse;
}

test("files are known that are given besides the services, and no others", async () => {
  const given = await askOnce(
    reflectionRoutes([Health], [fixtureFile("acme/legacy_more.proto")]),
    symbol("acme.Tag"),
  );
  assert.equal(given?.case === "fileDescriptorResponse" && given.value.fileDescriptorProto.length, 2);
  assert.equal((await askOnce(reflectionRoutes([Health]), symbol("acme.Tag")))?.case, "errorResponse");
});

test("a service that is given twice, as by the handlers of a router, is listed once", async () => {
  const routes = reflectionRoutes([Health, Health, v1.ServerReflection]);
  const listed = await askOnce(routes, { case: "listServices", value: "" });
  assert.equal(listed?.case === "listServicesResponse" && listed.value.service.length, 3);
});
