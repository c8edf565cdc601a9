import { type DescMethod, getOption } from "@bufbuild/protobuf";
import type { PermissionRule } from "../authenticate/authorize.ts";
import { access, PermissionScope } from "../gen/latchkey/v1/access_pb.ts";

/** Who may call a method. */
export type AccessRule =
  | { readonly kind: "public" | "authenticated" | "possession" }
  /** `caller`: a service that asks about somebody else's credential. */
  | { readonly kind: "permission"; readonly caller: boolean; readonly permission: PermissionRule };

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
      const { name, scope, platformName, self, caller } = rule.value;
      if (name !== "" && scope !== PermissionScope.UNSPECIFIED) {
        const reach = scope === PermissionScope.PLATFORM ? "platform" : "organization";
        return { kind: "permission", caller, permission: { name, scope: reach, platformName, self } };
      }
      break;
    }
    default:
  }
  throw new Error(`${method.parent.typeName}/${method.name} declares no access rule`);
}
