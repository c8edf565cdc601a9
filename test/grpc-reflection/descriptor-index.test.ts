import assert from "node:assert/strict";
import { test } from "node:test";
import {
  clone,
  create,
  createFileRegistry,
  type DescFile,
  equals,
  fromBinary,
  getOption,
  hasOption,
} from "@bufbuild/protobuf";
import { nestedTypes } from "@bufbuild/protobuf/reflect";
import {
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  file_google_protobuf_descriptor,
  file_google_protobuf_timestamp,
} from "@bufbuild/protobuf/wkt";
import { file_buf_validate_validate } from "../../src/gen/buf/validate/validate_pb.ts";
import { DescriptorIndex, type IndexedFile } from "../../src/grpc-reflection/descriptor-index.ts";
import { fixtureFile, fixtures } from "./fixture-files.ts";

const index = new DescriptorIndex([fixtureFile("acme/pets.proto"), fixtureFile("acme/legacy_service.proto")]);

/** The registry that a client builds from an answer and nothing else. */
function link(file: IndexedFile | undefined) {
  assert.ok(file);
  return createFileRegistry(
    create(FileDescriptorSetSchema, {
      file: file.closure.map(({ bytes }) => fromBinary(FileDescriptorProtoSchema, bytes)).reverse(),
    }),
  );
}

const names = (file: IndexedFile | undefined) => file?.closure.map(({ name }) => name);

for (const [symbol, file] of [
  ["acme.Pets", "acme/pets.proto"],
  ["acme.Pets.Adopt", "acme/pets.proto"],
  ["acme.Pet", "acme/pets.proto"],
  ["acme.Pet.name", "acme/pets.proto"],
  ["acme.Pet.home", "acme/pets.proto"],
  ["acme.Pet.shelter", "acme/pets.proto"],
  ["acme.Pet._color", "acme/pets.proto"],
  ["acme.Pet.VisitsEntry", "acme/pets.proto"],
  ["acme.Pet.VisitsEntry.value", "acme/pets.proto"],
  ["acme.Pet.Address", "acme/pets.proto"],
  ["acme.Pet.Address.kind", "acme/pets.proto"],
  ["acme.Pet.Address.Kind", "acme/pets.proto"],
  ["acme.Pet.Address.FARM", "acme/pets.proto"],
  ["acme.Color", "acme/pets.proto"],
  ["acme.RED", "acme/pets.proto"],
  ["acme.Access.permission", "acme/options.proto"],
  ["acme.access", "acme/options.proto"],
  ["acme.secret", "acme/options.proto"],
  ["acme.Legacy.Cage", "acme/legacy.proto"],
  ["acme.nickname", "acme/legacy.proto"],
  ["acme.Tag.tag", "acme/legacy_more.proto"],
  ["google.protobuf.Timestamp", "google/protobuf/timestamp.proto"],
  ["google.protobuf.FieldOptions.CType", "google/protobuf/descriptor.proto"],
] as const) {
  test(`finds the file of ${symbol}`, () => {
    assert.equal(index.fileOfSymbol(symbol)?.name, file);
  });
}

for (const name of [
  "",
  "acme",
  "acme.",
  ".acme.Pet",
  "acme.Pets/Adopt",
  "/acme.Pets/Adopt",
  "acme.Color.RED",
  "acme.Pet.Missing",
  "Pet",
  "__proto__",
  "constructor",
]) {
  test(`knows no symbol called ${JSON.stringify(name)}`, () => {
    assert.equal(index.fileOfSymbol(name), undefined);
  });
}

test("finds every file by its name with the extension, and no other", () => {
  for (const { proto } of fixtures.files) {
    assert.equal(index.file(proto.name)?.name, proto.name);
  }
  for (const name of ["acme/pets", "pets.proto", "/acme/pets.proto", ""]) {
    assert.equal(index.file(name), undefined);
  }
});

test("a closure has the file first and then each import once, also those of imports", () => {
  assert.deepEqual(names(index.file("acme/pets.proto")), [
    "acme/pets.proto",
    "acme/options.proto",
    "google/protobuf/descriptor.proto",
    "google/protobuf/timestamp.proto",
  ]);
  assert.deepEqual(names(index.file("acme/legacy_service.proto")), [
    "acme/legacy_service.proto",
    "acme/legacy.proto",
    "acme/legacy_more.proto",
    "acme/options.proto",
    "google/protobuf/descriptor.proto",
  ]);
  assert.deepEqual(names(index.file("acme/legacy.proto")), ["acme/legacy.proto"]);
});

test("finds the file of an extension by the message and the number", () => {
  assert.equal(index.fileOfExtension("acme.Legacy", 150)?.name, "acme/legacy.proto");
  assert.equal(index.fileOfExtension("acme.Legacy", 101)?.name, "acme/legacy_more.proto");
  assert.equal(index.fileOfExtension("google.protobuf.MethodOptions", 50001)?.name, "acme/options.proto");
  assert.equal(index.fileOfExtension("acme.Legacy", 102), undefined);
  assert.equal(index.fileOfExtension("acme.Plain", 101), undefined);
  assert.equal(index.fileOfExtension(".acme.Legacy", 101), undefined);
});

test("knows the numbers of all extensions of a message, ascending", () => {
  assert.deepEqual(index.extensionNumbers("acme.Legacy"), [101, 150]);
  assert.deepEqual(index.extensionNumbers("acme.Plain"), []);
  assert.equal(index.extensionNumbers("acme.Unheard"), undefined);
});

test("what is sent is the descriptor that was given", () => {
  for (const { proto } of fixtures.files) {
    const file = index.file(proto.name);
    assert.ok(file);
    assert.ok(
      equals(FileDescriptorProtoSchema, fromBinary(FileDescriptorProtoSchema, file.bytes), proto, {
        registry: fixtures,
        unknown: true,
      }),
      proto.name,
    );
  }
});

test("custom options survive", () => {
  const registry = link(index.fileOfSymbol("acme.Pets"));
  const [access, secret] = [registry.getExtension("acme.access"), registry.getExtension("acme.secret")];
  const [adopt, pet] = [registry.getService("acme.Pets")?.method["adopt"], registry.getMessage("acme.Pet")];
  assert.ok(access && secret && adopt && pet?.field["name"] && pet.field["born"]);
  assert.deepEqual(getOption(adopt, access), { $typeName: "acme.Access", permission: "pets.adopt" });
  assert.equal(getOption(pet.field["name"], secret), true);
  assert.equal(hasOption(pet.field["born"], secret), false);
});

test("generated code is enough: a client links it and finds every type in it", () => {
  const generated = new DescriptorIndex([file_buf_validate_validate]);
  const registry = link(generated.file("buf/validate/validate.proto"));
  let types = 0;
  for (const type of nestedTypes(file_buf_validate_validate)) {
    assert.ok(registry.get(type.typeName), type.typeName);
    assert.equal(generated.fileOfSymbol(type.typeName)?.name, "buf/validate/validate.proto");
    types++;
  }
  assert.ok(types > 10);
});

/** A file with one message and one extension of acme.Legacy, imported from the fixtures. */
function file(name: string, packageName: string, message: string, extension: number): DescFile {
  const proto = clone(FileDescriptorProtoSchema, fixtureFile("acme/legacy_more.proto").proto);
  proto.name = name;
  proto.package = packageName;
  for (const declared of proto.messageType) {
    declared.name = message;
    for (const inner of declared.extension) {
      inner.number = extension;
      inner.typeName = `.${packageName}.${message}`;
    }
  }
  const registry = createFileRegistry(proto, () => fixtureFile("acme/legacy.proto").proto);
  const made = [...registry.files].find((candidate) => candidate.proto.name === name);
  assert.ok(made);
  return made;
}

test("one file may be given twice", () => {
  const a = file("a.proto", "a", "A", 110);
  const same = file("a.proto", "a", "A", 110);
  const twice = new DescriptorIndex([a, a, same]);
  assert.deepEqual(twice.extensionNumbers("acme.Legacy"), [110, 150]);
});

test("refuses two different files with one name", () => {
  assert.throws(
    () => new DescriptorIndex([file("a.proto", "a", "A", 110), file("a.proto", "a", "B", 111)]),
    /two different files are named a\.proto/,
  );
});

test("refuses a symbol that two files declare", () => {
  assert.throws(
    () => new DescriptorIndex([file("a.proto", "a", "A", 110), file("b.proto", "a", "A", 111)]),
    /a\.A is declared in a\.proto and in b\.proto/,
  );
});

test("refuses an extension number that two files declare", () => {
  assert.throws(
    () => new DescriptorIndex([file("a.proto", "a", "A", 110), file("b.proto", "b", "B", 110)]),
    /extension 110 of acme\.Legacy is declared in a\.proto and in b\.proto/,
  );
});

test("two versions of the well-known types are no conflict, and the first is served", () => {
  const theirs = fixtureFile("google/protobuf/descriptor.proto");
  const both = new DescriptorIndex([
    theirs,
    file_google_protobuf_descriptor,
    file_google_protobuf_timestamp,
    fixtureFile("acme/pets.proto"),
  ]);
  const served = both.file("google/protobuf/descriptor.proto");
  assert.ok(served);
  assert.ok(
    equals(FileDescriptorProtoSchema, fromBinary(FileDescriptorProtoSchema, served.bytes), theirs.proto),
  );
});
