import type {
  DescriptorProto,
  EnumDescriptorProto,
  FieldDescriptorProto,
  FileDescriptorProto,
} from "@bufbuild/protobuf/wkt";

/**
 * The full name of everything that a file declares: messages, fields, oneofs, enums and their values,
 * extensions, services and methods. A value of an enum is named beside the enum and not inside of it, as in
 * C++: `acme.RED` and not `acme.Color.RED`. What the compiler adds (the entry of a map, the oneof of an
 * optional field) is declared too.
 */
export function* symbolsOfFile(file: FileDescriptorProto): Generator<string> {
  const scope = file.package;
  yield* symbolsOfTypes(scope, file.messageType, file.enumType, file.extension);
  for (const service of file.service) {
    const name = join(scope, service.name);
    yield name;
    for (const method of service.method) {
      yield join(name, method.name);
    }
  }
}

/** Every extension that a file declares, in messages too. */
export function* extensionsOfFile(file: FileDescriptorProto): Generator<FieldDescriptorProto> {
  yield* file.extension;
  for (const message of file.messageType) {
    yield* extensionsOfMessage(message);
  }
}

function* symbolsOfTypes(
  scope: string,
  messages: DescriptorProto[],
  enums: EnumDescriptorProto[],
  extensions: FieldDescriptorProto[],
): Generator<string> {
  for (const message of messages) {
    const name = join(scope, message.name);
    yield name;
    for (const member of [...message.field, ...message.oneofDecl]) {
      yield join(name, member.name);
    }
    yield* symbolsOfTypes(name, message.nestedType, message.enumType, message.extension);
  }
  for (const declared of enums) {
    yield join(scope, declared.name);
    for (const value of declared.value) {
      yield join(scope, value.name);
    }
  }
  for (const extension of extensions) {
    yield join(scope, extension.name);
  }
}

function* extensionsOfMessage(message: DescriptorProto): Generator<FieldDescriptorProto> {
  yield* message.extension;
  for (const nested of message.nestedType) {
    yield* extensionsOfMessage(nested);
  }
}

function join(scope: string, name: string): string {
  return scope === "" ? name : `${scope}.${name}`;
}
