import { AuthError } from "../errors.ts";
import { violates } from "../storage/storage-error.ts";

/** @throws AuthError ROLE_NAME_TAKEN where that is why a change of roles fails. */
export async function asNameTaken<Result>(change: Promise<Result>): Promise<Result> {
  return await change.catch((error: unknown) => {
    throw violates(error, "roles_organization_id_name_key")
      ? new AuthError("ROLE_NAME_TAKEN", { cause: error })
      : error;
  });
}
