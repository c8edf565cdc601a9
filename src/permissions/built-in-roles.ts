/**
 * The roles that every organization has. Being an owner is more than its permissions: only an owner (or
 * the platform) makes, changes or removes an owner, and the last one stays.
 */
export const BUILT_IN_ROLES: Readonly<Record<string, readonly string[]>> = {
  owner: ["*"],
  admin: ["*"],
  member: ["*.read", "calls.*"],
  viewer: ["*.read"],
};

/** The one that allows least. */
export const LEAST_ROLE = "viewer";
