import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { createFileRegistry, type DescFile, type DescService, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

export const buf = fileURLToPath(new URL("../../node_modules/.bin/buf", import.meta.url));

/** The files below ./fixtures, compiled as they are, with the well-known types that the compiler brings. */
export const fixtures = createFileRegistry(
  fromBinary(
    FileDescriptorSetSchema,
    execFileSync(buf, ["build", "--config", '{"version":"v2"}', "--exclude-source-info", "--output", "-"], {
      cwd: fileURLToPath(new URL("./fixtures", import.meta.url)),
    }),
  ),
);

/** A file of the fixtures, by the name that its imports have for it. */
export function fixtureFile(name: string): DescFile {
  for (const file of fixtures.files) {
    if (file.proto.name === name) {
      return file;
    }
  }
  throw new Error(`there is no ${name}`);
}

export function fixtureService(name: string): DescService {
  const service = fixtures.getService(name);
  if (service === undefined) {
    throw new Error(`there is no ${name}`);
  }
  return service;
}
