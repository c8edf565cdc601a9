import { type DescMethod, getOption } from "@bufbuild/protobuf";
import type { PermissionRule } from "../authenticate/authorize.ts";
import { access, PermissionScope } from "../gen/latchkey/v1/access_pb.ts";

/** Who may call a method. */
export type AccessRule =
  | { readonly kind: "public" | "authenticated" | "possession" }
  | {
      readonly kind: "permission";
      readonly permission: PermissionRule;
      /** A service that asks about somebody else's credential. */
      readonly caller: boolean;
      /** Where one of these fields of the message is set, holding what it carries is the proof. */
      readonly possessionFields: readonly string[];
      /** Where one of these is set, a person needs no permission for what is their own. */
      readonly ownFields: readonly string[];
      /** The organization that is named may be a deleted one. */
      readonly deletedOrganizations: boolean;
    };

/** Services whose contracts are published by others, and so cannot declare a rule of ours. */
const PUBLISHED: Readonly<Record<string, AccessRule>> = {
  "grpc.health.v1.Health": { kind: "public" },
  "grpc.reflection.v1.ServerReflection": { kind: "public" },
  "grpc.reflection.v1alpha.ServerReflection": { kind: "public" },
};

/**
 * The rule that a method declares in its proto file.
 *
 * @throws Error where there is none: such a method is never served.
 */
export function accessRuleOf(method: DescMethod): AccessRule {
  const published = PUBLISHED[method.parent.typeName];
  if (published !== undefined) {
    return published;
  }
  const { rule } = getOption(method, access);
  switch (rule.case) {
    case "public":
    case "authenticated":
    case "possession":
      if (rule.value) {
        return { kind: rule.case };
      }
      break;
    case "permission": {
      const { name, scope, platformName, self, caller, possessionFields, ownFields, deletedOrganizations } =
        rule.value;
      const unknown = [...possessionFields, ...ownFields].filter((field) =>
        method.input.fields.every((one) => one.name !== field),
      );
      if (unknown.length > 0) {
        throw new Error(`${method.parent.typeName}/${method.name} has no field ${unknown.join(", ")}`);
      }
      if (name !== "" && scope !== PermissionScope.UNSPECIFIED) {
        const reach = scope === PermissionScope.PLATFORM ? "platform" : "organization";
        const permission = { name, scope: reach, platformName, self } as const;
        return { kind: "permission", permission, caller, possessionFields, ownFields, deletedOrganizations };
      }
      break;
    }
    default:
  }
  throw new Error(`${method.parent.typeName}/${method.name} declares no access rule`);
}
