import { type DescField, type DescMessage, getOption, type Message } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import type { Interceptor } from "@connectrpc/connect";
import { field as fieldRules } from "../gen/buf/validate/validate_pb.ts";

/**
 * Puts the ids of a request into lower case, which is how they are kept: what is compared, logged or
 * remembered by an id must not depend on how somebody spells it (RFC 9562 section 4).
 */
export function createCanonicalIdsInterceptor(): Interceptor {
  const idFields = new Map<DescMessage, readonly DescField[]>();
  const idFieldsOf = (schema: DescMessage) => {
    const fields = idFields.get(schema) ?? schema.fields.filter(isId);
    idFields.set(schema, fields);
    return fields;
  };
  return (next) => (request) => {
    if (!request.stream) {
      lowerCase(request.message, request.method.input, idFieldsOf(request.method.input));
    }
    return next(request);
  };
}

function isId(field: DescField): boolean {
  const { type } = getOption(field, fieldRules);
  return field.fieldKind === "scalar" && type.case === "string" && type.value.wellKnown.case === "uuid";
}

function lowerCase(message: Message, schema: DescMessage, fields: readonly DescField[]): void {
  const view = reflect(schema, message);
  for (const field of fields) {
    // To set one of a oneof would choose it.
    const value: unknown = view.isSet(field) ? view.get(field) : undefined;
    if (typeof value === "string") {
      view.set(field, value.toLowerCase());
    }
  }
}
