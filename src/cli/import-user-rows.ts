import { fromJson } from "@bufbuild/protobuf";
import { type UserToImport, UserToImportSchema } from "../gen/latchkey/v1/user_pb.ts";
import { RowFault, type RowKind } from "./import-rows.ts";

/**
 * The rows of a file of people.
 *
 * @param missing what a row has that does not say otherwise.
 */
export function userRows(missing: {
  readonly organizationId?: string | undefined;
  readonly role?: string | undefined;
}): RowKind<UserToImport> {
  const { organizationId = "", role = "" } = missing;
  return {
    columns: ["email", "displayName", "organizationId", "role", "passwordHash"],
    required: "passwordHash",
    name: "email",
    read(fields) {
      try {
        const user = fromJson(UserToImportSchema, fields);
        return {
          ...user,
          organizationId: user.organizationId || organizationId,
          role: user.role || role,
        };
      } catch (error) {
        throw new RowFault("REQUEST_INVALID", error instanceof Error ? error.message : String(error));
      }
    },
  };
}
