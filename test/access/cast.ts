import { createPrivateKey, type KeyObject, randomBytes } from "node:crypto";
import type { JWK } from "jose";
import { v4 as uuidv4, v7 as uuidv7 } from "uuid";
import type { Core } from "../../src/app.ts";
import { Session } from "../../src/credentials/access-token/session-entity.ts";
import { ApiKeySlot } from "../../src/credentials/api-key/api-key-entity.ts";
import { insertApiKey } from "../../src/credentials/api-key/create-api-key.ts";
import type { RateLimit } from "../../src/credentials/rate-limit.ts";
import { mintKey } from "../../src/credentials/secret-key.ts";
import { insertServiceKey } from "../../src/credentials/service-key/create-service-key.ts";
import { ServiceKeySlot } from "../../src/credentials/service-key/service-key-entity.ts";
import {
  makeSigningKey,
  placeOfSigningKey,
  type SigningAlgorithm,
} from "../../src/credentials/signing-key/new-signing-key.ts";
import { SigningKey } from "../../src/credentials/signing-key/signing-key-entity.ts";
import { insertOrganization } from "../../src/organizations/create-organization.ts";
import { Role } from "../../src/permissions/role-entity.ts";
import { Membership } from "../../src/users/membership-entity.ts";
import { User } from "../../src/users/user-entity.ts";

// Puts people and keys into a database as they are needed, past the service.

/** A password that is long enough, and its hash: made once, since that takes a while. */
export interface Password {
  readonly text: string;
  readonly hash: string;
}

export async function makePassword({ passwordHasher }: Core): Promise<Password> {
  const text = randomBytes(18).toString("base64url");
  return { text, hash: await passwordHasher.hash(text) };
}

/** @returns the id. */
export async function addOrganization({ storage }: Core, name = `org ${uuidv4()}`): Promise<string> {
  return await storage.fork().transactional(async (em) => (await insertOrganization(em, name)).id);
}

export interface AddedUser {
  readonly id: string;
  readonly email: string;
}

export interface UserToAdd {
  readonly organizationId: string;
  readonly role: string;
  readonly password: Pick<Password, "hash">;
  readonly email?: string;
  readonly displayName?: string;
  readonly platformRole?: "administrator";
  /** Pending where not. */
  readonly accepted?: boolean;
  readonly disabled?: boolean;
  readonly passwordExpireTime?: Date;
}

/** Adds a user, or a membership where the email is known. */
export async function addUser({ storage }: Core, asked: UserToAdd): Promise<AddedUser> {
  const { organizationId, role, email = `${uuidv4()}@people.test` } = asked;
  return await storage.fork().transactional(async (em) => {
    const { id: roleId } = await em.findOneOrFail(Role, { organizationId, name: role });
    const known = await em.findOne(User, { email });
    const user =
      known ??
      em.create(User, {
        id: uuidv4(),
        email,
        homeOrganizationId: organizationId,
        passwordHash: asked.password.hash,
        passwordExpireTime: asked.passwordExpireTime ?? null,
        platformRole: asked.platformRole ?? null,
      });
    await em.flush();
    em.create(Membership, {
      id: uuidv7(),
      organizationId,
      userId: user.id,
      roleId,
      displayName: asked.displayName ?? "",
      acceptTime: (asked.accepted ?? true) ? new Date() : null,
      disableTime: (asked.disabled ?? false) ? new Date() : null,
    });
    await em.flush();
    return { id: user.id, email };
  });
}

/**
 * Adds a role of one's own.
 *
 * @returns the id.
 */
export async function addRole(
  { storage }: Core,
  asked: { readonly organizationId: string; readonly name: string; readonly permissions: readonly string[] },
): Promise<string> {
  const id = uuidv7();
  await storage.fork().transactional(async (em) => {
    em.create(Role, { id, ...asked, permissions: [...asked.permissions], builtIn: false });
    await em.flush();
  });
  return id;
}

/**
 * Adds a session that nobody has logged in for, and that nobody has a token of.
 *
 * @returns the id.
 */
export async function addSession(
  { storage }: Core,
  asked: { readonly organizationId: string; readonly userId: string },
): Promise<string> {
  const id = uuidv7();
  await storage.fork().transactional(async (em) => {
    em.create(Session, { id, ...asked, expireTime: new Date(Date.now() + 24 * 60 * 60 * 1000) });
    await em.flush();
  });
  return id;
}

export interface AddedKey {
  readonly id: string;
  /** The secret. */
  readonly text: string;
}

export async function addApiKey(
  { storage, keyHasher }: Core,
  asked: {
    readonly organizationId: string;
    readonly owner: { readonly userId: string } | { readonly serviceKeyId: string };
    readonly permissions: readonly string[];
    readonly name?: string;
    readonly allowedCidrs?: readonly string[];
    readonly expireTime?: Date;
    readonly rateLimit?: RateLimit;
  },
): Promise<AddedKey> {
  const minted = mintKey("ak");
  const { owner } = asked;
  const view = await storage.fork().transactional((em) =>
    insertApiKey(em, keyHasher, minted, {
      name: "test",
      allowedCidrs: [],
      environment: "",
      expireTime: undefined,
      creatorId: "userId" in owner ? owner.userId : owner.serviceKeyId,
      ...asked,
    }),
  );
  return { id: view.key.id, text: minted.text };
}

export async function addServiceKey(
  { storage, keyHasher }: Core,
  asked: {
    readonly permissions: readonly string[];
    readonly name?: string;
    readonly allowedCidrs?: readonly string[];
    readonly expireTime?: Date;
  },
): Promise<AddedKey> {
  const minted = mintKey("sk");
  const view = await storage.fork().transactional((em) =>
    insertServiceKey(em, keyHasher, minted, {
      name: `service-${uuidv4()}`,
      allowedCidrs: [],
      expireTime: undefined,
      ...asked,
    }),
  );
  return { id: view.key.id, text: minted.text };
}

/**
 * Gives a key a second secret, beside which the first goes on for a while.
 *
 * @returns the new secret.
 */
export async function addRotation(
  { storage, keyHasher }: Core,
  kind: "api_key" | "service_key",
  id: string,
  organizationId?: string,
): Promise<string> {
  const { text, lookupId, displayPrefix } = mintKey(kind === "api_key" ? "ak" : "sk");
  const row = { lookupId, displayPrefix, slot: 2, ...keyHasher.hash(text) };
  const until = new Date(Date.now() + 3_600_000);
  await storage.fork().transactional(async (em) => {
    if (kind === "api_key") {
      await em.nativeUpdate(ApiKeySlot, { apiKeyId: id }, { expireTime: until });
      em.create(ApiKeySlot, { ...row, apiKeyId: id, organizationId: organizationId ?? "" });
    } else {
      await em.nativeUpdate(ServiceKeySlot, { serviceKeyId: id }, { expireTime: until });
      em.create(ServiceKeySlot, { ...row, serviceKeyId: id });
    }
    await em.flush();
  });
  return text;
}

/** Adds a signing key that has retired: what it has signed is good for a day still. */
export async function addSigningKey(
  { storage, seal }: Core,
  algorithm: SigningAlgorithm = "ES256",
): Promise<{ readonly kid: string; readonly privateKey: KeyObject; readonly publicJwk: JWK }> {
  const { kid, publicJwk, sealedPrivateKey } = await makeSigningKey(seal, algorithm);
  const [hour, now] = [3_600_000, Date.now()];
  await storage.fork().transactional(async (em) => {
    em.create(SigningKey, {
      kid,
      listId: uuidv7(),
      algorithm,
      publicJwk: { ...publicJwk },
      sealedPrivateKey: null,
      publishTime: new Date(now - 2 * hour),
      activateTime: new Date(now - hour),
      retireTime: new Date(now - 1000),
      removeTime: new Date(now + 24 * hour),
    });
    await em.flush();
  });
  const key = seal.open(sealedPrivateKey, placeOfSigningKey(kid));
  return { kid, publicJwk, privateKey: createPrivateKey({ key, format: "der", type: "pkcs8" }) };
}
