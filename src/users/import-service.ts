import { create } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import type { Actor } from "../authenticate/actor.ts";
import { importAnswer } from "../credentials/imported-key/import-results-service.ts";
import type { KeyHasher } from "../credentials/key-digest.ts";
import { AuthError } from "../errors.ts";
import { ImportMode } from "../gen/latchkey/v1/api_key_pb.ts";
import {
  CreateUserRequestSchema,
  type ImportUsersRequest,
  type ImportUsersResponse,
  ImportUsersResponseSchema,
  type UserToImport as UserToImportMessage,
} from "../gen/latchkey/v1/user_pb.ts";
import type { Storage } from "../storage/open-storage.ts";
import { importUsers } from "./import-users.ts";
import type { UserToImport } from "./user-to-import.ts";

const validator = createValidator({ failFast: true });
/** Stands for the one that is not known. */
const PASSWORD = "x";

/** Carries out ImportUsers. */
export async function importUsersCall(
  parts: { readonly storage: Storage; readonly keyHasher: KeyHasher },
  actor: Actor,
  { users, mode, validateOnly }: ImportUsersRequest,
): Promise<ImportUsersResponse> {
  const outcomes = await importUsers(parts, actor, {
    users: users.values().map(userOf),
    isAllOrNothing: mode === ImportMode.ALL_OR_NOTHING,
    validateOnly,
  });
  return create(ImportUsersResponseSchema, importAnswer(outcomes));
}

/** The rules of a person's fields are those of CreateUserRequest. */
function userOf(user: UserToImportMessage): UserToImport | AuthError {
  const { email, displayName, organizationId, role, passwordHash } = user;
  const asked = create(CreateUserRequestSchema, {
    email,
    displayName,
    organizationId,
    role,
    password: PASSWORD,
  });
  const checked = validator.validate(CreateUserRequestSchema, asked);
  if (checked.kind === "error") {
    throw checked.error;
  }
  if (checked.kind === "invalid") {
    return new AuthError("REQUEST_INVALID", { message: checked.error.message });
  }
  if (organizationId === "") {
    return new AuthError("ORGANIZATION_REQUIRED", { message: "Name the organization, by its id." });
  }
  return { email, displayName, organizationId: organizationId.toLowerCase(), role, passwordHash };
}
