import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { v4 as uuidv4 } from "uuid";
import type { Reason } from "../../src/errors.ts";
import { logIn, type Tokens } from "../credentials/session-support.ts";
import { delegate, tokenOf } from "../credentials/token-grants.ts";
import { importKey, keyOf, oldKey, present, untilRehashed } from "../imported-keys/import.ts";
import { query } from "../support/cluster.ts";
import { ApiKeyService, ServiceKeyService, type TestService, UserService } from "../support/service.ts";
import { apiKey, bearer, type Headers, internalKey } from "./actors.ts";
import {
  addApiKey,
  addOrganization,
  addRole,
  addRotation,
  addServiceKey,
  addUser,
  type Password,
} from "./cast.ts";

// One person's life with Latchkey: each kind of credential that stands on them, on a key, or on their organization,
// and beside it the same kind standing on something else.

/** Before the end of any token of a key: what is handed out with it ends no later. */
const SOON = () => new Date(Date.now() + 10 * 60_000);
export const soon = () => timestampFromDate(SOON());
/** Before the end of a secret that is rotated, and later than what is made. */
const LATER = () => timestampFromDate(new Date(Date.now() + 30 * 60_000));

/** Where a call is made: an organization that things happen to, and one that nothing happens to. */
export interface Place {
  readonly id: string;
  readonly name: string;
  /** Somebody whom nothing happens to. */
  readonly bystander: { readonly id: string; readonly email: string };
  /** A key of the bystander's, to rotate. */
  readonly keyId: string;
}

export interface Life {
  readonly acme: Place;
  readonly globex: Place;
  /** A member of both, whose role in acme is their own; an administrator of the platform. */
  readonly user: { readonly id: string; readonly email: string; readonly roleId: string };
  /** Of the user, two in acme and one in globex; the bystander's in acme. */
  readonly sessions: Readonly<Record<"first" | "second" | "elsewhere" | "bystander", Tokens>>;
  readonly delegated: Readonly<Record<"user" | "bystander" | "userByNew", string>>;
  readonly apiKey: KeyWithChild;
  /** Owned by the user, and of no other key's making. */
  readonly otherApiKey: { readonly id: string; readonly text: string };
  /** Owned by the internal key. */
  readonly serviceOwnedKey: string;
  readonly importedKey: { readonly id: string; readonly text: string };
  readonly apiKeyTokens: Readonly<Record<"old" | "new" | "imported", string>>;
  readonly internalKey: KeyWithChild;
  readonly serviceTokens: Readonly<Record<"bound" | "unbound", string>>;
  readonly invited: { readonly id: string; readonly email: string; readonly invitation: string };
  /** Whose password is a one-time one. */
  readonly reset: { readonly id: string; readonly email: string };
  /** An internal key, to rotate. */
  readonly serviceKeyId: string;
}

/** A key whose rotation is going on, and one that was made with its old secret. */
interface KeyWithChild {
  readonly id: string;
  readonly old: string;
  readonly new: string;
  readonly child: string;
}

export const KEY_PERMISSIONS = ["auth.api_keys.write", "auth.users.write", "calls.read"] as const;

export async function makeLife(service: TestService, password: Password): Promise<Life> {
  const { core } = service;
  const [acme, globex] = [await makePlace(service, password), await makePlace(service, password)];
  const in_ = { organizationId: acme.id };
  const roleId = await addRole(core, { ...in_, name: "boss", permissions: ["*"] });
  const person = { ...in_, password, platformRole: "administrator" } as const;
  const { id: userId, email } = await addUser(core, { ...person, role: "boss" });
  await addUser(core, { organizationId: globex.id, role: "admin", password, email });
  const login = { email, password: password.text };
  const first = await logIn(service, login, acme.id);
  const second = await logIn(service, login, acme.id);
  const elsewhere = await logIn(service, login, globex.id);
  const bystander = await logIn(service, { ...login, email: acme.bystander.email }, acme.id);

  const owned = { ...in_, owner: { userId }, permissions: KEY_PERMISSIONS };
  const key = await addApiKey(core, owned);
  const newText = await addRotation(core, "api_key", key.id, acme.id);
  const child = await service
    .client(ApiKeyService, apiKey(key.text))
    .createApiKey({ name: "child", permissions: [...KEY_PERMISSIONS], expireTime: LATER() });
  const importedText = oldKey();
  const importedId = await importKey(service, keyOf(importedText, { permissions: [...KEY_PERMISSIONS] }), {
    organizationId: acme.id,
    ownerId: userId,
  });
  // Its first use moves its secret, which is nothing that a refused call does.
  await present(service, importedText);
  await untilRehashed(service, importedId);

  const internal = await addServiceKey(core, { permissions: ["*"] });
  const newInternal = await addRotation(core, "service_key", internal.id);
  const internalChild = await service
    .client(ServiceKeyService, internalKey(internal.text))
    .createServiceKey({ name: `child-${uuidv4()}`, permissions: ["*"], expireTime: LATER() });
  const serviceOwned = await addApiKey(core, { ...owned, owner: { serviceKeyId: internal.id } });
  const behalf = async (text: string, userId: string, organizationId = "") =>
    (await delegate(service, internalKey(text), { userId }, { organizationId })).accessToken;

  const invited = `${uuidv4()}@people.test`;
  const { user, invitation } = await service
    .client(UserService, internalKey(service.internalKey, acme.id))
    .createUser({ email: invited, role: "caller" });
  const reset = await addUser(core, {
    ...in_,
    role: "member",
    password,
    passwordExpireTime: new Date(Date.now() + 86_400_000),
  });
  await query(
    service.connection,
    `update users set password_change_required = id = $1, claim_time = now() where id = any($2)`,
    [reset.id, [reset.id, userId, acme.bystander.id, globex.bystander.id]],
  );
  return {
    acme,
    globex,
    user: { id: userId, email, roleId },
    sessions: { first, second, elsewhere, bystander },
    apiKey: { id: key.id, old: key.text, new: newText, child: child.secret },
    otherApiKey: await addApiKey(core, owned),
    serviceOwnedKey: serviceOwned.text,
    importedKey: { id: importedId, text: importedText },
    apiKeyTokens: {
      old: await tokenOf(service, key.text),
      new: await tokenOf(service, newText),
      imported: await tokenOf(service, importedText),
    },
    internalKey: { id: internal.id, old: internal.text, new: newInternal, child: internalChild.secret },
    delegated: {
      user: await behalf(internal.text, userId, acme.id),
      bystander: await behalf(internal.text, acme.bystander.id, acme.id),
      userByNew: await behalf(newInternal, userId, acme.id),
    },
    serviceTokens: {
      bound: await behalf(internal.text, "", acme.id),
      unbound: await behalf(internal.text, ""),
    },
    invited: { id: user?.id ?? "", email: invited, invitation },
    reset,
    serviceKeyId: (await addServiceKey(core, { permissions: ["calls.read"], expireTime: SOON() })).id,
  };
}

async function makePlace({ core }: TestService, password: Password): Promise<Place> {
  const name = `org ${uuidv4()}`;
  const id = await addOrganization(core, name);
  await addRole(core, { organizationId: id, name: "caller", permissions: ["calls.read"] });
  const bystander = await addUser(core, {
    organizationId: id,
    role: "owner",
    password,
    platformRole: "administrator",
  });
  const { id: keyId } = await addApiKey(core, {
    organizationId: id,
    owner: { userId: bystander.id },
    permissions: ["calls.read"],
    expireTime: SOON(),
  });
  return { id, name, bystander, keyId };
}

/** What a credential stands on. */
export type Fact =
  | `signing key`
  | `organization`
  | `no organization`
  | `${"member" | "password" | "account" | "invitation"} ${"user" | "invited" | "reset" | "bystander" | "user elsewhere"}`
  | `${"session" | "end of session" | "idle end of session"} ${string}`
  | `${"api key" | "end of api key"} ${"itself" | "child" | "imported" | "of service" | "other"}`
  | `${"secret" | "secret that is taken back"} ${string}`
  | `${"internal key" | "end of internal key"} ${"itself" | "child"}`;

/** In the order in which it is looked at, with what a call is refused with where it is gone. */
export type Standing = readonly (readonly [Fact, Reason])[];

export interface Kind {
  readonly name: string;
  readonly place: "acme" | "globex";
  readonly headers: Headers;
  readonly stands: Standing;
  /** Whose role bounds it, where it is somebody's. */
  readonly role?: "user" | "other";
  /** What it holds whatever its owner may: `*` is everything, of the platform too. */
  readonly grants: readonly string[];
  /** The text of an API key, which gets a token by itself. */
  readonly apiKey?: string;
}

const SUSPENDED = ["organization", "ORGANIZATION_SUSPENDED"] as const;
const SIGNED = ["signing key", "TOKEN_REVOKED"] as const;

const session = (name: string): Standing => [
  [`session ${name}`, "TOKEN_REVOKED"],
  [`end of session ${name}`, "TOKEN_EXPIRED"],
];

type ApiKeyName = "itself" | "child" | "imported" | "of service" | "other";

/** Of a secret that is there no more nobody is told that it was; of a token that it was good once. */
const ofSecret = (secret: string, rotated: Reason, takenBack: Reason): Standing =>
  secret === ""
    ? []
    : [
        [`secret ${secret}`, rotated],
        [`secret that is taken back ${secret}`, takenBack],
      ];

const ofApiKey = (name: ApiKeyName, secret = "", takenBack: Reason = "API_KEY_INVALID"): Standing => [
  [`api key ${name}`, "API_KEY_REVOKED"],
  [`end of api key ${name}`, "API_KEY_EXPIRED"],
  ...ofSecret(secret, "API_KEY_ROTATED", takenBack),
  ...(name === "of service"
    ? ([
        ["internal key itself", "API_KEY_CREATOR_INACTIVE"],
        ["end of internal key itself", "API_KEY_CREATOR_INACTIVE"],
      ] as const)
    : ([["member user", "API_KEY_CREATOR_INACTIVE"]] as const)),
];

const ofInternalKey = (
  name: "itself" | "child",
  secret = "",
  takenBack: Reason = "SERVICE_KEY_INVALID",
): Standing => [
  [`internal key ${name}`, "SERVICE_KEY_REVOKED"],
  [`end of internal key ${name}`, "SERVICE_KEY_EXPIRED"],
  ...ofSecret(secret, "SERVICE_KEY_ROTATED", takenBack),
];

const UNKNOWN = ["no organization", "ORGANIZATION_UNKNOWN"] as const;

/** Every kind of credential that goes into a header. */
export function kindsOf(life: Life): readonly Kind[] {
  const { sessions, apiKeyTokens, delegated, serviceTokens, acme, globex } = life;
  const all = ["*"];
  const named = KEY_PERMISSIONS;
  const inAcme = { place: "acme" as const };
  const inGlobex = { place: "globex" as const };
  const login = (name: string, member: Fact) => [
    SIGNED,
    [member, "USER_DISABLED"] as const,
    ...session(name),
  ];
  const key = (name: ApiKeyName, text: string, secret?: string): Kind => ({
    ...inAcme,
    name: `an API key (${name}${secret === undefined ? "" : `, ${secret}`})`,
    headers: apiKey(text),
    stands: [...ofApiKey(name, secret), SUSPENDED],
    ...(name !== "of service" && { role: "user" as const }),
    grants: named,
    apiKey: text,
  });
  const keyToken = (name: ApiKeyName, text: string, label: string, secret?: string): Kind => ({
    ...inAcme,
    name: `a token got with an API key (${label})`,
    headers: bearer(text),
    stands: [
      SIGNED,
      ...ofApiKey(name, secret, "API_KEY_ROTATED"),
      ...session(`of the API key, ${label}`),
      SUSPENDED,
    ],
    role: "user",
    grants: named,
  });
  const onBehalf = (of: "user" | "bystander", text: string, secret: string, label: string): Kind => ({
    ...inAcme,
    name: `a token delegated for a user (${label})`,
    headers: bearer(text),
    stands: [
      SIGNED,
      ...ofInternalKey("itself", secret, "SERVICE_KEY_ROTATED"),
      [`member ${of}`, "USER_DISABLED"],
      ...session(`delegated for the ${label}`),
      SUSPENDED,
    ],
    role: of === "user" ? "user" : "other",
    grants: all,
  });
  const person = { grants: all } as const;
  const internal = (text: string, name: "itself" | "child", secret?: string): Kind[] => [
    {
      ...inAcme,
      name: `an internal key for the organization (${name}, ${secret ?? ""})`,
      headers: internalKey(text, acme.id),
      stands: [...ofInternalKey(name, secret), UNKNOWN, SUSPENDED],
      grants: all,
    },
    {
      ...inGlobex,
      name: `an internal key for another organization (${name}, ${secret ?? ""})`,
      headers: internalKey(text, globex.id),
      stands: ofInternalKey(name, secret),
      grants: all,
    },
  ];
  return [
    {
      ...inAcme,
      ...person,
      name: "an access token",
      headers: sessions.first.headers,
      stands: [...login("first", "member user"), SUSPENDED],
      role: "user",
    },
    {
      ...inAcme,
      ...person,
      name: "an access token of another session",
      headers: sessions.second.headers,
      stands: [...login("second", "member user"), SUSPENDED],
      role: "user",
    },
    {
      ...inGlobex,
      ...person,
      name: "an access token for another organization",
      headers: sessions.elsewhere.headers,
      stands: login("elsewhere", "member user elsewhere"),
      role: "other",
    },
    {
      ...inAcme,
      ...person,
      name: "somebody else's access token",
      headers: sessions.bystander.headers,
      stands: [...login("bystander", "member bystander"), SUSPENDED],
      role: "other",
    },
    key("itself", life.apiKey.old, "old"),
    key("itself", life.apiKey.new, "new"),
    key("child", life.apiKey.child),
    key("other", life.otherApiKey.text),
    key("of service", life.serviceOwnedKey),
    key("imported", life.importedKey.text),
    keyToken("itself", apiKeyTokens.old, "old", "old"),
    keyToken("itself", apiKeyTokens.new, "new", "new"),
    keyToken("imported", apiKeyTokens.imported, "imported"),
    ...internal(life.internalKey.old, "itself", "old internal"),
    ...internal(life.internalKey.new, "itself", "new internal"),
    ...internal(life.internalKey.child, "child"),
    onBehalf("user", delegated.user, "old internal", "user"),
    onBehalf("bystander", delegated.bystander, "old internal", "bystander"),
    onBehalf("user", delegated.userByNew, "new internal", "user, new"),
    {
      ...inAcme,
      name: "a token of a service for itself, in the organization",
      headers: bearer(serviceTokens.bound),
      stands: [
        SIGNED,
        ...ofInternalKey("itself", "old internal"),
        UNKNOWN,
        ...session("service bound"),
        SUSPENDED,
      ],
      grants: all,
    },
    {
      ...inGlobex,
      name: "a token of a service for itself, in another organization",
      headers: { ...bearer(serviceTokens.unbound), "x-org-id": globex.id },
      stands: [SIGNED, ...ofInternalKey("itself", "old internal"), ...session("service unbound")],
      grants: all,
    },
  ];
}
