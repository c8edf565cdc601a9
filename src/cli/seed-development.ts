import { raw } from "@mikro-orm/core";
import type { EntityManager } from "@mikro-orm/postgresql";
import { v7 as uuidv7 } from "uuid";
import type { Core } from "../app.ts";
import { mutate, type Tag } from "../changes/mutate.ts";
import { ApiKeySlot } from "../credentials/api-key/api-key-entity.ts";
import { insertApiKey } from "../credentials/api-key/create-api-key.ts";
import { type MintedKey, mintKey, parseKey } from "../credentials/secret-key.ts";
import { insertServiceKey } from "../credentials/service-key/create-service-key.ts";
import { ServiceKey, ServiceKeySlot } from "../credentials/service-key/service-key-entity.ts";
import { SERVICE_KEY_PREFIX } from "../credentials/service-key/service-key-scheme.ts";
import { AuthError } from "../errors.ts";
import { insertOrganization } from "../organizations/create-organization.ts";
import { Organization } from "../organizations/organization-entity.ts";
import { LOCKS } from "../storage/locks.ts";
import { canonical } from "../users/canonical.ts";
import { makeAdministrator } from "../users/make-administrator.ts";
import { CommandError } from "./command-error.ts";
import { type DevCredentials, devCredentialsPath, readDevCredentials } from "./dev-credentials.ts";
import { writePrivateFile } from "./private-file.ts";

const ORGANIZATION = "acme";
const EMAIL = "admin@acme.test";
const NAME = "development";

export interface SeededDevelopment {
  readonly credentials: DevCredentials;
  readonly path: string;
  /** Whether they were made just now, and are to be told. */
  readonly isNew: boolean;
}

/**
 * Sees to it that the development database holds the credentials of `dev.json`. The file is written before
 * the database is: whatever interrupts it, the next start finds the file and puts right what is missing.
 * Of several at once, one does it.
 */
export async function seedDevelopment(
  core: Core,
  options: { readonly directory: string; readonly url: string; readonly apiKeyPrefix: string },
): Promise<SeededDevelopment> {
  const path = devCredentialsPath(options.directory);
  return await mutate(core.storage, { type: "operator", id: "npm start" }, async (em) => {
    await em.execute("select pg_advisory_xact_lock(?)", [LOCKS.seedDevelopment]);
    const kept = await readDevCredentials(path);
    const existing = await em.findOne(Organization, { nameKey: canonical(ORGANIZATION) });
    const credentials: DevCredentials = {
      url: options.url,
      organizationId: existing?.id ?? kept?.organizationId ?? uuidv7(),
      email: kept?.email ?? EMAIL,
      password: kept?.password ?? core.passwordPolicy.generate(),
      apiKey: kept?.apiKey ?? mintKey(options.apiKeyPrefix).text,
      internalKey: kept?.internalKey ?? mintKey(SERVICE_KEY_PREFIX).text,
    };
    const apiKey = readMinted(credentials.apiKey);
    const internalKey = readMinted(credentials.internalKey);
    if (JSON.stringify(kept) !== JSON.stringify(credentials)) {
      await writePrivateFile(path, `${JSON.stringify(credentials, undefined, 2)}\n`);
    }
    const result = { credentials, path, isNew: kept === undefined };
    const isSeeded =
      (await em.count(ApiKeySlot, { lookupId: apiKey.lookupId })) > 0 &&
      (await em.count(ServiceKeySlot, { lookupId: internalKey.lookupId })) > 0;
    if (isSeeded) {
      return { result, unchanged: true };
    }
    const { userId, tags } = await insert(em, core, credentials);
    const { organizationId, email } = credentials;
    const event = {
      organizationId,
      action: "development.seed",
      targetId: organizationId,
      detail: {
        after: { administrators: [userId], keys: [apiKey.displayPrefix, internalKey.displayPrefix] },
      },
      personal: { userId, data: { after: { email } } },
    };
    return { result, event, tags };
  });
}

async function insert(
  em: EntityManager,
  core: Core,
  credentials: DevCredentials,
): Promise<{ userId: string; tags: readonly Tag[] }> {
  const { keyHasher, passwordHasher } = core;
  const { organizationId, email } = credentials;
  requireStrength(core, credentials);
  const passwordHash = await passwordHasher.hash(credentials.password);
  if ((await em.count(Organization, { id: organizationId })) === 0) {
    await insertOrganization(em, ORGANIZATION, organizationId);
  }
  const userId = await makeAdministrator(em, organizationId, {
    email,
    passwordHash,
    passwordExpireTime: undefined,
  });
  // That of a dev.json that was lost.
  const lost = await em.findOne(ServiceKey, { name: NAME, revokeTime: null });
  if (lost !== null) {
    await em.nativeUpdate(ServiceKey, { id: lost.id }, { revokeTime: raw("now()") });
  }
  const key = { name: NAME, allowedCidrs: [], expireTime: undefined };
  await insertServiceKey(em, keyHasher, readMinted(credentials.internalKey), { ...key, permissions: ["*"] });
  await insertApiKey(em, keyHasher, readMinted(credentials.apiKey), {
    ...key,
    permissions: ["calls.*"],
    environment: "",
    organizationId,
    creatorId: userId,
    owner: { userId },
  });
  const tags: readonly Tag[] = [`org:${organizationId}`, `user:${userId}`];
  return { userId, tags: lost === null ? tags : [...tags, `key:${lost.id}`] };
}

function requireStrength(core: Core, { email, password }: DevCredentials): void {
  try {
    core.passwordPolicy.requireStrength(password, { email, names: [ORGANIZATION] });
  } catch (error) {
    if (!(error instanceof AuthError)) {
      throw error;
    }
    throw new CommandError(
      `dev.json holds a password that is refused (${error.reason}); remove it to have new credentials`,
    );
  }
}

function readMinted(text: string): MintedKey {
  const prefix = text.slice(0, text.indexOf("_"));
  const lookupId = parseKey(text, new Set([prefix]));
  if (lookupId === undefined) {
    throw new CommandError("dev.json holds a key that is none; remove it to have new credentials");
  }
  return { text, lookupId, displayPrefix: text.slice(0, text.lastIndexOf("_")) };
}
