import type { SessionState } from "../../authenticate/live-state.ts";
import { type Catalogue, expandPatterns } from "../../permissions/permission-pattern.ts";
import type { Rights } from "../../permissions/rights.ts";

/** What a member of an organization may do, by their role there and by what they are to the platform. */
export function memberRights(
  { user, role }: Pick<SessionState, "user" | "role">,
  catalogue: Catalogue,
): Rights {
  const byRole = expandPatterns(role.permissions, "role", catalogue);
  const byPlatformRole = new Set(user.platformRole === "administrator" ? catalogue.platform : []);
  return { grants: role.permissions, permissions: byRole.union(byPlatformRole) };
}
