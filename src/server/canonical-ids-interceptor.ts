import { type DescField, type DescMessage, getOption } from "@bufbuild/protobuf";
import { type ReflectMessage, reflect } from "@bufbuild/protobuf/reflect";
import type { Interceptor } from "@connectrpc/connect";
import { field as fieldRules } from "../gen/buf/validate/validate_pb.ts";

/**
 * Puts the ids of a request into lower case, which is how they are kept: what is compared, logged or
 * remembered by an id must not depend on how somebody spells it (RFC 9562 section 4).
 */
export function createCanonicalIdsInterceptor(): Interceptor {
  const known = new Map<DescMessage, Fields>();
  const fieldsOf = (schema: DescMessage) => {
    const { fields } = schema;
    const found = known.get(schema) ?? { ids: fields.filter(isId), messages: fields.filter(isOurs) };
    known.set(schema, found);
    return found;
  };
  const canonicalize = (view: ReflectMessage): void => {
    const { ids, messages } = fieldsOf(view.desc);
    lowerCase(view, ids);
    for (const field of messages) {
      if (view.isSet(field)) {
        canonicalize(view.get(field));
      }
    }
  };
  return (next) => (request) => {
    if (!request.stream) {
      canonicalize(reflect(request.method.input, request.message));
    }
    return next(request);
  };
}

interface Fields {
  readonly ids: readonly DescField[];
  /** Those that may have ids in them. */
  readonly messages: readonly (DescField & { readonly fieldKind: "message" })[];
}

function isId(field: DescField): boolean {
  const { type } = getOption(field, fieldRules);
  return field.fieldKind === "scalar" && type.case === "string" && type.value.wellKnown.case === "uuid";
}

function isOurs(field: DescField): field is DescField & { readonly fieldKind: "message" } {
  return field.fieldKind === "message" && field.message.typeName.startsWith("latchkey.");
}

function lowerCase(view: ReflectMessage, fields: readonly DescField[]): void {
  for (const field of fields) {
    // To set one of a oneof would choose it.
    const value: unknown = view.isSet(field) ? view.get(field) : undefined;
    if (typeof value === "string") {
      view.set(field, value.toLowerCase());
    }
  }
}
