import { v4 as uuidv4 } from "uuid";
import { type Actor, authorOf } from "../authenticate/actor.ts";
import { holdActor } from "../authenticate/hold-actor.ts";
import { mutate } from "../changes/mutate.ts";
import { inUnitOfWork } from "../changes/unit-of-work.ts";
import type { ImportedOutcome } from "../credentials/imported-key/import-api-keys.ts";
import type { KeyHasher } from "../credentials/key-digest.ts";
import { AuthError } from "../errors.ts";
import { holdThoseThatExist } from "../organizations/hold-organizations.ts";
import type { Role } from "../permissions/role-entity.ts";
import type { Storage } from "../storage/open-storage.ts";
import { requireGrantable } from "./grantable-role.ts";
import {
  findKnownUsers,
  holdRoles,
  insertUsers,
  type KnownUser,
  roleKeyOf,
  type UserRow,
} from "./imported-user-rows.ts";
import { type CheckedUser, checkUsers, type UserToImport } from "./user-to-import.ts";

/** Each has an entry in its own record. */
const MOST_ORGANIZATIONS = 1_000;

export interface UserImport {
  /** Or what is wrong with one. */
  readonly users: Iterable<UserToImport | AuthError>;
  /** Whether nobody is imported where somebody cannot be. */
  readonly isAllOrNothing: boolean;
  /** Only tells what would be. */
  readonly validateOnly: boolean;
}

/** Takes back what was written where nothing is to be. */
class NothingImported extends Error {
  override readonly name = "NothingImported";
  readonly outcomes: readonly ImportedOutcome[];

  constructor(outcomes: readonly ImportedOutcome[]) {
    super("somebody cannot be imported");
    this.outcomes = outcomes;
  }
}

/**
 * Takes over people of another system, each with a membership that is accepted. What is wrong with one of them is
 * told in their outcome. Nobody who is known is changed.
 *
 * @returns what became of each, in their order.
 * @throws AuthError REQUEST_INVALID where they are of too many organizations, and what holdActor() throws.
 */
export async function importUsers(
  parts: { readonly storage: Storage; readonly keyHasher: KeyHasher },
  actor: Actor,
  asked: UserImport,
): Promise<readonly ImportedOutcome[]> {
  const users = await checkUsers(parts.keyHasher, asked.users);
  const good = users.flatMap((user) => (user instanceof AuthError ? [] : [user]));
  const organizationIds = new Set(good.map((user) => user.organizationId));
  if (organizationIds.size > MOST_ORGANIZATIONS) {
    throw new AuthError("REQUEST_INVALID", {
      message: `One call is about ${MOST_ORGANIZATIONS} organizations at most.`,
    });
  }

  const unitOfWork = inUnitOfWork(parts.storage, async ({ em }) => {
    const own = actor.decision.organization?.id;
    const organizations = await holdThoseThatExist(
      em,
      new Set([...organizationIds, ...(own === undefined ? [] : [own])]),
    );
    await holdActor(em, actor);
    const roles = await holdRoles(em, good);
    const known = await findKnownUsers(
      em,
      good.map(({ email }) => email),
    );
    const checks = { actor, organizations, roles, known };
    const decided = users.map((user) => (user instanceof AuthError ? refusal(user) : decide(checks, user)));
    requireWhole(asked, decided);
    if (asked.validateOnly) {
      return decided.map(withoutNewId);
    }
    const rows = rowsOf(users, decided, roles);
    const inserted = rows.length === 0 ? new Set<string>() : await insertUsers(em, rows);
    const outcomes = decided.map((each) =>
      each.outcome === "imported" && !inserted.has(each.id ?? "") ? refusal(emailKnown()) : each,
    );
    requireWhole(asked, outcomes);
    await record(
      { ...parts.storage, fork: () => em },
      actor,
      rows.filter(({ id }) => inserted.has(id)),
    );
    return outcomes;
  });
  return await unitOfWork.catch((error: unknown) => {
    if (error instanceof NothingImported) {
      return error.outcomes;
    }
    throw error;
  });
}

/** What becomes of each person depends on. */
interface Checks {
  readonly actor: Actor;
  readonly organizations: ReadonlySet<string>;
  readonly roles: ReadonlyMap<string, Role>;
  readonly known: ReadonlyMap<string, KnownUser>;
}

function decide(checks: Checks, user: CheckedUser): ImportedOutcome {
  try {
    requirePlace(checks, user);
  } catch (error) {
    if (error instanceof AuthError) {
      return refusal(error);
    }
    throw error;
  }
  const known = checks.known.get(user.email);
  if (known === undefined) {
    return { outcome: "imported", id: uuidv4() };
  }
  return known.digest === user.digest ? { outcome: "unchanged", id: known.id } : refusal(emailKnown());
}

/** The organization exists, and the role is the actor's to give there. */
function requirePlace({ actor, organizations, roles }: Checks, user: CheckedUser): void {
  const { principal, organization } = actor.decision;
  const { organizationId } = user;
  // A service said where to look.
  if (principal.type === "service" && organization !== undefined && organization.id !== organizationId) {
    throw new AuthError("ORGANIZATION_AMBIGUOUS");
  }
  if (!organizations.has(organizationId)) {
    throw new AuthError("ORGANIZATION_UNKNOWN");
  }
  const role = roles.get(roleKeyOf(user));
  if (role === undefined) {
    throw new AuthError("ROLE_UNKNOWN");
  }
  requireGrantable({ ...actor, organizationId }, role);
}

function refusal(fault: AuthError): ImportedOutcome {
  return { outcome: "refused", fault };
}

function emailKnown(): AuthError {
  return new AuthError("EMAIL_TAKEN", {
    message: "Somebody has this email already. Their account stays as it is: invite them.",
  });
}

/** @throws NothingImported */
function requireWhole({ isAllOrNothing }: UserImport, outcomes: readonly ImportedOutcome[]): void {
  if (isAllOrNothing && outcomes.some(({ outcome }) => outcome === "refused")) {
    throw new NothingImported(
      outcomes.map((each) => (each.outcome === "imported" ? { outcome: "skipped" } : each)),
    );
  }
}

function withoutNewId(each: ImportedOutcome): ImportedOutcome {
  return each.outcome === "imported" ? { ...each, id: undefined } : each;
}

function rowsOf(
  users: readonly (CheckedUser | AuthError)[],
  outcomes: readonly ImportedOutcome[],
  roles: ReadonlyMap<string, Role>,
): UserRow[] {
  return users.flatMap((user, at) => {
    const outcome = outcomes[at];
    const isNew = outcome?.outcome === "imported" && !(user instanceof AuthError);
    const role = isNew ? roles.get(roleKeyOf(user)) : undefined;
    return isNew && role !== undefined ? [{ ...user, id: outcome.id ?? "", roleId: role.id }] : [];
  });
}

/** In the record of each organization, its own people. */
async function record(storage: Storage, actor: Actor, users: readonly UserRow[]): Promise<void> {
  const byOrganization = Map.groupBy(users, ({ organizationId }) => organizationId);
  for (const [organizationId, members] of byOrganization) {
    const byRole = Map.groupBy(members, ({ role }) => role);
    const roles = [...byRole].map(([role, of]) => [role, of.map(({ id }) => id)]);
    await mutate(storage, authorOf(actor), async () => ({
      result: undefined,
      event: {
        organizationId,
        action: "user.import",
        targetId: organizationId,
        detail: { imported: members.length, after: Object.fromEntries(roles) },
      },
      tags: members.map(({ id }) => `user:${id}` as const),
    }));
  }
}
