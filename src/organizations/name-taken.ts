import { AuthError } from "../errors.ts";
import { violates } from "../storage/storage-error.ts";

/** @throws AuthError ORGANIZATION_NAME_TAKEN where that is why a change of organizations fails. */
export async function asNameTaken<Result>(change: Promise<Result>): Promise<Result> {
  return await change.catch((error: unknown) => {
    throw violates(error, "organizations_name_key_unique")
      ? new AuthError("ORGANIZATION_NAME_TAKEN", { cause: error })
      : error;
  });
}
