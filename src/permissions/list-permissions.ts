import type { Storage } from "../storage/open-storage.ts";
import { Permission } from "./permission-entity.ts";

/** The catalogue, by name. */
export async function listPermissions(storage: Storage): Promise<Permission[]> {
  return await storage.fork().find(Permission, {}, { orderBy: { name: "asc" } });
}
