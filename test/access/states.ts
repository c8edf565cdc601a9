import { v4 as uuidv4 } from "uuid";
import { RoleService } from "../../src/gen/latchkey/v1/role_pb.ts";
import { SigningKeyService } from "../../src/gen/latchkey/v1/signing_key_pb.ts";
import { refresh } from "../credentials/session-support.ts";
import { query } from "../support/cluster.ts";
import { readParts } from "../support/forge-token.ts";
import { refusedWith } from "../support/refusal.ts";
import {
  ApiKeyService,
  OrganizationService,
  ServiceKeyService,
  type TestService,
  TokenService,
  UserService,
} from "../support/service.ts";
import { internalKey } from "./actors.ts";
import type { Password } from "./cast.ts";
import type { Fact, Life } from "./life.ts";

// What may happen to a credential, or to whom or what it stands on, and what is gone then. Which credentials that
// ends follows from what they stand on.

export interface State {
  readonly name: string;
  /** Brings it about, by calls where there is one for it. */
  readonly happens: (at: TestService, life: Life, password: Password) => Promise<unknown>;
  readonly ends: readonly Fact[];
  /** The user's role in the organization allows no more than `*.read`. */
  readonly narrows?: true;
}

const platform = (at: TestService, organizationId = "") => internalKey(at.internalKey, organizationId);
const users = (at: TestService, life: Life) => at.client(UserService, platform(at, life.acme.id));
const apiKeys = (at: TestService, life: Life) => at.client(ApiKeyService, platform(at, life.acme.id));
const serviceKeys = (at: TestService) => at.client(ServiceKeyService, platform(at));
const tokens = (at: TestService, headers = {}) => at.client(TokenService, headers);

/** Lets time pass for one thing. */
const past = (at: TestService, table: string, column: string, id: string, key = "id") =>
  query(at.connection, `update ${table} set ${column} = now() - interval '1 second' where ${key} = $1`, [id]);

const revokeUsers = (at: TestService, life: Life, headers: Record<string, string>) =>
  tokens(at, headers).revokeToken({ target: { case: "userId", value: life.user.id } });

const changePassword = (at: TestService, life: Life, password: Password, keepSessions: boolean) =>
  at.client(UserService).changePassword({
    email: life.user.email,
    currentPassword: password.text,
    newPassword: uuidv4(),
    keepSessions,
  });

const ACME_SESSIONS: readonly Fact[] = [
  "session first",
  "session second",
  "session delegated for the user",
  "session delegated for the user, new",
];
const ALL_SESSIONS: readonly Fact[] = [...ACME_SESSIONS, "session elsewhere"];
/** Of the user's keys, and of what was made with one of them. */
const USERS_KEYS: readonly Fact[] = ["api key itself", "api key child", "api key imported", "api key other"];
const ACME_USER: readonly Fact[] = ["member user", ...ACME_SESSIONS];

export const STATES: readonly State[] = [
  { name: "nothing has happened", happens: async () => {}, ends: [] },
  {
    name: "the member is disabled",
    happens: (at, life) => users(at, life).updateUser({ id: life.user.id, disabled: true }),
    ends: ACME_USER,
  },
  {
    name: "the member was disabled, and is enabled again",
    happens: async (at, life) => {
      await users(at, life).updateUser({ id: life.user.id, disabled: true });
      await users(at, life).updateUser({ id: life.user.id, disabled: false });
    },
    ends: ACME_SESSIONS,
  },
  {
    name: "the member is demoted",
    happens: (at, life) => users(at, life).updateUser({ id: life.user.id, role: "viewer" }),
    ends: [],
    narrows: true,
  },
  {
    name: "the member's role allows less",
    happens: (at, life) =>
      at
        .client(RoleService, platform(at, life.acme.id))
        .updateRole({ id: life.user.roleId, permissions: { values: ["*.read"] } }),
    ends: [],
    narrows: true,
  },
  {
    name: "the member is removed",
    happens: (at, life) => users(at, life).removeMembership({ id: life.user.id }),
    ends: [...ACME_USER, ...USERS_KEYS],
  },
  {
    name: "the user is deleted",
    happens: (at, life) => at.client(UserService, platform(at)).deleteUser({ id: life.user.id }),
    ends: [
      "account user",
      "password user",
      "member user",
      "member user elsewhere",
      ...ALL_SESSIONS,
      ...USERS_KEYS,
    ],
  },
  {
    name: "the password is changed",
    happens: (at, life, password) => changePassword(at, life, password, false),
    ends: ["password user", ...ALL_SESSIONS],
  },
  {
    name: "the password is changed, and sessions are kept",
    happens: (at, life, password) => changePassword(at, life, password, true),
    ends: ["password user"],
  },
  {
    name: "the password is reset",
    happens: (at, life) => users(at, life).resetPassword({ id: life.user.id }),
    ends: ["password user", ...ALL_SESSIONS],
  },
  {
    name: "a one-time password is reset once more",
    happens: (at, life) => users(at, life).resetPassword({ id: life.reset.id }),
    ends: ["password reset"],
  },
  {
    name: "a one-time password is over",
    happens: (at, life) => past(at, "users", "password_expire_time", life.reset.id),
    ends: ["password reset"],
  },
  {
    name: "the organization is suspended",
    happens: (at, life) =>
      at.client(OrganizationService, platform(at)).updateOrganization({ id: life.acme.id, suspended: true }),
    ends: ["organization"],
  },
  {
    name: "the organization is deleted",
    happens: (at, { acme }) =>
      at.client(OrganizationService, platform(at)).deleteOrganization({ id: acme.id, name: acme.name }),
    ends: [
      "organization",
      "no organization",
      "member bystander",
      "member reset",
      "member invited",
      ...ACME_USER,
      ...USERS_KEYS,
      "api key of service",
      "session bystander",
      "session delegated for the bystander",
      "session service bound",
    ],
  },
  {
    name: "the session is revoked by its token",
    happens: (at, life) =>
      tokens(at).revokeToken({ target: { case: "token", value: life.sessions.first.accessToken } }),
    ends: ["session first"],
  },
  {
    name: "the session is revoked by its refresh token",
    happens: (at, life) =>
      tokens(at).revokeToken({ target: { case: "token", value: life.sessions.first.refreshToken } }),
    ends: ["session first"],
  },
  {
    name: "the session is revoked by its id",
    happens: (at, life) =>
      tokens(at, life.sessions.second.headers).revokeToken({
        target: { case: "sessionId", value: life.sessions.first.sessionId },
      }),
    ends: ["session first"],
  },
  {
    name: "all of the user's sessions in the organization are revoked",
    happens: (at, life) => revokeUsers(at, life, platform(at, life.acme.id)),
    ends: ACME_SESSIONS,
  },
  {
    name: "all of the user's sessions everywhere are revoked",
    happens: (at, life) => revokeUsers(at, life, life.sessions.first.headers),
    ends: ALL_SESSIONS,
  },
  {
    name: "the session is over",
    happens: (at, life) => past(at, "sessions", "expire_time", life.sessions.first.sessionId),
    ends: ["end of session first"],
  },
  {
    name: "the session was not refreshed in time",
    happens: (at, life) => past(at, "sessions", "idle_expire_time", life.sessions.first.sessionId),
    ends: ["idle end of session first"],
  },
  {
    name: "a refresh token is used once more",
    happens: async (at, { sessions }) => {
      const next = await refresh(at, sessions.first.refreshToken);
      await refresh(at, next.refreshToken);
      await refusedWith("REFRESH_TOKEN_REUSED", refresh(at, sessions.first.refreshToken));
    },
    ends: ["session first"],
  },
  {
    name: "the API key is revoked",
    happens: (at, life) => apiKeys(at, life).revokeApiKey({ id: life.apiKey.id }),
    ends: ["api key itself", "api key child"],
  },
  {
    name: "the API key is revoked by whoever holds its old secret",
    happens: (at, life) => at.client(ApiKeyService).revokeOwnApiKey({ apiKey: life.apiKey.old }),
    ends: ["api key itself", "api key child"],
  },
  {
    name: "the API key's rotation is finished",
    happens: (at, life) => apiKeys(at, life).finishRotation({ id: life.apiKey.id }),
    ends: ["secret old"],
  },
  {
    name: "the API key's rotation is taken back",
    happens: (at, life) => apiKeys(at, life).cancelRotation({ id: life.apiKey.id }),
    ends: ["secret that is taken back new"],
  },
  {
    name: "the API key's overlap is over",
    happens: (at, life) => past(at, "api_key_slots", "expire_time", lookupIdOf(life.apiKey.old), "lookup_id"),
    ends: ["secret old"],
  },
  {
    name: "the API key is over",
    happens: (at, life) => past(at, "api_keys", "expire_time", life.apiKey.id),
    ends: ["end of api key itself"],
  },
  {
    name: "the imported API key is revoked",
    happens: (at, life) => apiKeys(at, life).revokeApiKey({ id: life.importedKey.id }),
    ends: ["api key imported"],
  },
  {
    name: "a token got with the API key is revoked",
    happens: (at, life) =>
      tokens(at).revokeToken({ target: { case: "token", value: life.apiKeyTokens.old } }),
    ends: ["session of the API key, old"],
  },
  {
    name: "a delegated token is revoked",
    happens: (at, life) => tokens(at).revokeToken({ target: { case: "token", value: life.delegated.user } }),
    ends: ["session delegated for the user"],
  },
  {
    name: "a service's own token is revoked",
    happens: (at, life) =>
      tokens(at, platform(at)).revokeToken({
        target: { case: "sessionId", value: String(readParts(life.serviceTokens.unbound).payload["sid"]) },
      }),
    ends: ["session service unbound"],
  },
  {
    name: "the internal key is revoked",
    happens: (at, life) => serviceKeys(at).revokeServiceKey({ id: life.internalKey.id }),
    ends: ["internal key itself", "internal key child"],
  },
  {
    name: "the internal key's rotation is finished",
    happens: (at, life) => serviceKeys(at).finishServiceKeyRotation({ id: life.internalKey.id }),
    ends: ["secret old internal"],
  },
  {
    name: "the internal key's rotation is taken back",
    happens: (at, life) => serviceKeys(at).cancelServiceKeyRotation({ id: life.internalKey.id }),
    ends: ["secret that is taken back new internal"],
  },
  {
    name: "the internal key is over",
    happens: (at, life) => past(at, "service_keys", "expire_time", life.internalKey.id),
    ends: ["end of internal key itself"],
  },
  {
    name: "whoever was invited is disabled",
    happens: (at, life) => users(at, life).updateUser({ id: life.invited.id, disabled: true }),
    ends: ["member invited"],
  },
  {
    name: "whoever was invited is removed",
    happens: (at, life) => users(at, life).removeMembership({ id: life.invited.id }),
    ends: ["member invited"],
  },
  {
    name: "the invitation is over",
    happens: (at, life) => past(at, "memberships", "invitation_expire_time", life.invited.id, "user_id"),
    ends: ["invitation invited"],
  },
  {
    name: "whoever has a one-time password is disabled",
    happens: (at, life) => users(at, life).updateUser({ id: life.reset.id, disabled: true }),
    ends: ["member reset"],
  },
  // The last: what is signed with it is everybody's.
  {
    name: "the signing key is revoked",
    happens: (at, life) =>
      at
        .client(SigningKeyService, platform(at))
        .revokeSigningKey({ id: String(readParts(life.sessions.first.accessToken).header["kid"]) }),
    ends: ["signing key"],
  },
];

const lookupIdOf = (text: string) => text.split("_")[1] ?? "";
