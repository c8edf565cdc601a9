import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import bcrypt from "bcryptjs";
import { v4 as uuidv4 } from "uuid";
import { ImportMode, ImportOutcome, ImportOutcomeSchema } from "../../src/gen/latchkey/v1/api_key_pb.ts";
import {
  type ImportUsersRequestSchema,
  type ImportUsersResponse,
  UserService,
  type UserToImportSchema,
} from "../../src/gen/latchkey/v1/user_pb.ts";
import type { Headers } from "../access/actors.ts";
import type { TestService } from "../support/service.ts";

type Init<Schema extends DescMessage> = Extract<MessageInitShape<Schema>, { $typeName?: never }>;
export type UserInit = Init<typeof UserToImportSchema> & { readonly email: string };

/** Shorter than a new one may be. */
export const OLD_PASSWORD = "hunter2";
/** The cheapest that there is. */
export const OLD_HASH = bcrypt.hashSync(OLD_PASSWORD, 4);

/** Somebody to import, as a viewer of the service's organization unless it says otherwise. */
export function someone(service: TestService, more: Partial<UserInit> = {}): UserInit {
  return {
    email: `${uuidv4()}@old.test`,
    displayName: "Somebody",
    organizationId: service.organizationId,
    role: "viewer",
    passwordHash: OLD_HASH,
    ...more,
  };
}

/** Imports people by the service's internal key, unless it says otherwise. */
export async function importUsers(
  service: TestService,
  users: readonly UserInit[],
  more: Init<typeof ImportUsersRequestSchema> = {},
  headers: Headers = { "x-internal-key": service.internalKey },
): Promise<ImportUsersResponse> {
  return await service
    .client(UserService, { ...headers })
    .importUsers({ users: [...users], mode: ImportMode.BEST_EFFORT, ...more }, { timeoutMs: 60_000 });
}

/** What became of each: `imported`, `unchanged`, `skipped`, or the reason. */
export function outcomesOf({ results }: ImportUsersResponse): string[] {
  return results.map(({ outcome, reason }) =>
    outcome === ImportOutcome.REFUSED
      ? reason
      : (ImportOutcomeSchema.value[outcome]?.localName ?? "").toLowerCase(),
  );
}
