import { v4 as uuidv4 } from "uuid";
import { query } from "../support/cluster.ts";
import type { TestService } from "../support/service.ts";
import {
  type AddedUser,
  addApiKey,
  addOrganization,
  addRole,
  addRotation,
  addServiceKey,
  addSession,
  addSigningKey,
  addUser,
  makePassword,
  type Password,
} from "./cast.ts";

/** The headers that a caller sends. */
export type Headers = Readonly<Record<string, string>>;

/** A tenant, and one of each thing that can be named. */
export interface Tenant {
  readonly id: string;
  /** A member, who has the world's password. */
  readonly member: AddedUser;
  readonly ownerId: string;
  readonly roleId: string;
  readonly apiKeyId: string;
  /** A good API key, whose secret is known. */
  readonly apiKey: string;
  /** Of the member. */
  readonly sessionId: string;
  readonly peopleIds: readonly string[];
  /** Whatever an answer must not hold that is meant for another tenant. */
  readonly marks: readonly string[];
}

export interface World {
  readonly service: TestService;
  readonly password: Password;
  readonly acme: Tenant;
  readonly globex: Tenant;
  readonly serviceKeyId: string;
  readonly signingKeyId: string;
  readonly missing: string;
  /** An API key that nobody needs. */
  readonly spareApiKey: string;
  /** Somebody whose password changes with each ChangePassword that is allowed: the first is in force. */
  readonly changing: { readonly email: string; readonly passwords: [string, string] };
}

export const everyAuth = async (service: TestService): Promise<string[]> =>
  (
    await query<{ name: string }>(
      service.connection,
      "select name from permissions where scope = 'organization' and name like 'auth.%'",
    )
  ).map(({ name }) => name);

export async function makeWorld(service: TestService): Promise<World> {
  const password = await makePassword(service.core);
  const [acme, globex] = [await makeTenant(service, password), await makeTenant(service, password)];
  const { id: serviceKeyId } = await addServiceKey(service.core, { permissions: ["calls.read"] });
  await addRotation(service.core, "service_key", serviceKeyId);
  const { kid: signingKeyId } = await addSigningKey(service.core);
  const { email } = await addUser(service.core, { organizationId: acme.id, role: "member", password });
  const changing = { email, passwords: [password.text, `${password.text} anew`] as [string, string] };
  const ofOwner = { organizationId: acme.id, owner: { userId: acme.ownerId }, permissions: ["calls.read"] };
  const { text: spareApiKey } = await addApiKey(service.core, ofOwner);
  return {
    service,
    password,
    acme,
    globex,
    serviceKeyId,
    signingKeyId,
    missing: uuidv4(),
    spareApiKey,
    changing,
  };
}

async function makeTenant({ core }: TestService, password: Password): Promise<Tenant> {
  const name = `org ${uuidv4()}`;
  const id = await addOrganization(core, name);
  const owner = await addUser(core, { organizationId: id, role: "owner", password });
  const member = await addUser(core, { organizationId: id, role: "member", password });
  const of = { organizationId: id, owner: { userId: owner.id }, permissions: ["calls.read"] };
  const [named, used] = [await addApiKey(core, { ...of, name: uuidv4() }), await addApiKey(core, of)];
  // What can be named is in the state that most can be done to: a rotation is going on.
  await addRotation(core, "api_key", named.id, id);
  const roleId = await addRole(core, { organizationId: id, name: "reader", permissions: ["calls.read"] });
  const sessionId = await addSession(core, { organizationId: id, userId: member.id });
  return {
    id,
    sessionId,
    ownerId: owner.id,
    roleId,
    member,
    apiKeyId: named.id,
    apiKey: used.text,
    peopleIds: [owner.id, member.id],
    marks: [id, name, owner.id, owner.email, member.id, member.email, roleId, named.id, used.id, sessionId],
  };
}

export const bearer = (token: string): Headers => ({ authorization: `Bearer ${token}` });
export const apiKey = (text: string): Headers => ({ "x-api-key": text });
export const internalKey = (text: string, organizationId = ""): Headers => ({
  "x-internal-key": text,
  ...(organizationId !== "" && { "x-org-id": organizationId }),
});

/** Everybody who may come with a good credential, and nobody. */
export async function makeActors(world: World): Promise<{
  readonly fixed: Readonly<Record<string, Headers>>;
  /** An internal key that holds one permission only. */
  readonly narrowed: (permission: string) => Promise<Headers>;
  /** The id of whoever is a user. */
  readonly ids: Readonly<Record<string, string>>;
  /** The organization of the platform's administrator. */
  readonly platformsOwn: string;
}> {
  const { service, acme, globex, password } = world;
  const { core } = service;
  const ids: Record<string, string> = {};
  const user = async (name: string, role: string, organizationId: string, isOfPlatform = false) => {
    const { id, email } = await addUser(core, {
      organizationId,
      role,
      password,
      ...(isOfPlatform && { platformRole: "administrator" }),
    });
    ids[name] = id;
    return bearer(await service.logIn(email, password.text));
  };
  const owner = await addUser(core, { organizationId: acme.id, role: "owner", password });
  const key = async (permissions: readonly string[]) =>
    apiKey(
      (await addApiKey(core, { organizationId: acme.id, owner: { userId: owner.id }, permissions })).text,
    );

  const keys = new Map<string, Headers>();
  const narrowed = async (permission: string) => {
    const headers =
      keys.get(permission) ?? internalKey((await addServiceKey(core, { permissions: [permission] })).text);
    keys.set(permission, headers);
    return headers;
  };
  await addRole(core, { organizationId: acme.id, name: "agent", permissions: ["calls.read"] });
  const full = (await addServiceKey(core, { permissions: ["*"] })).text;
  const platformsOwn = await addOrganization(core);
  return {
    ids,
    platformsOwn,
    narrowed,
    fixed: {
      nobody: {},
      key: await key(["calls.*"]),
      "key+": await key([...(await everyAuth(service)), "*"]),
      agent: await user("agent", "agent", acme.id),
      viewer: await user("viewer", "viewer", acme.id),
      member: await user("member", "member", acme.id),
      admin: await user("admin", "admin", acme.id),
      owner: await user("owner", "owner", acme.id),
      other: await user("other", "owner", globex.id),
      platform: await user("platform", "viewer", platformsOwn, true),
      sk: internalKey(full),
      "sk@acme": internalKey(full, acme.id),
    },
  };
}
