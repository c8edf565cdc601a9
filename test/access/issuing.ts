import { randomBytes } from "node:crypto";
import type { DescMethod } from "@bufbuild/protobuf";
import { v4 as uuidv4 } from "uuid";
import { ImportMode, KeyAlphabet, KeyHashAlgorithm } from "../../src/gen/latchkey/v1/api_key_pb.ts";
import { accessRuleOf } from "../../src/server/access-rules.ts";
import { OLD_HASH } from "../imported-users/people.ts";
import type { Headers } from "./actors.ts";
import type { Password } from "./cast.ts";
import { type Kind, type Life, type Place, type Standing, soon } from "./life.ts";
import { EVERY_METHOD } from "./methods.ts";

// The calls that make a credential, or a person who may come to have one, and Authenticate.

export interface Call {
  readonly name: string;
  readonly method: DescMethod;
  readonly headers: Headers;
  /** @param isRefused a refused call names what there is: it would have an effect. */
  readonly request: (isRefused: boolean) => Record<string, unknown>;
  readonly stands: Standing;
  /** What is asked of whoever calls, besides a credential that is good. */
  readonly needs?: { readonly permission: string; readonly platformName: string };
  /** Why it is refused all the same, to whoever may call. */
  readonly otherwise?: string;
}

/** With a credential in a header. */
export function callsBy(kind: Kind, life: Life): readonly Call[] {
  const place = life[kind.place];
  const isInternalKey = "x-internal-key" in kind.headers;
  const calls = Object.entries(requestsAt(place, life)).map(([name, request]) => {
    const method = methodOf(name);
    const rule = accessRuleOf(method);
    if (rule.kind !== "permission") {
      throw new Error(`${name} asks for no permission`);
    }
    const { permission } = rule;
    return {
      name: `${name} with ${kind.name}`,
      method,
      headers: kind.headers,
      request,
      stands: kind.stands,
      needs: { permission: permission.name, platformName: permission.platformName },
      ...(name === "ResetPassword" && { otherwise: "NOT_FOUND" }),
      ...(name === "IssueToken" && !isInternalKey && { otherwise: "SERVICE_KEY_REQUIRED" }),
    };
  });
  const fields = Object.entries(kind.headers).map(([name, value]) => ({ name, value }));
  return [
    ...calls,
    ask(`Authenticate of ${kind.name}`, "Authenticate", { headers: fields }, kind.stands),
    ...(kind.apiKey === undefined
      ? []
      : [
          grant(
            `IssueToken by ${kind.name}`,
            { case: "apiKey", value: { apiKey: kind.apiKey } },
            kind.stands,
          ),
        ]),
    ...(isInternalKey && kind.place === "acme"
      ? [
          {
            ...grant(
              `IssueToken on the user's behalf with ${kind.name}`,
              { case: "delegation", value: { userId: life.user.id } },
              [...kind.stands, ["member user", "NOT_FOUND"]],
            ),
            headers: kind.headers,
          },
        ]
      : []),
  ];
}

function requestsAt(place: Place, life: Life): Record<string, Call["request"]> {
  const { bystander, id: organizationId } = place;
  const permissions = ["calls.read"];
  const email = () => `${uuidv4()}@people.test`;
  return {
    IssueToken: () => ({ grant: { case: "delegation", value: { userId: bystander.id } } }),
    CreateApiKey: () => ({ name: "made", permissions, expireTime: soon() }),
    RotateApiKey: () => ({ id: place.keyId, overlap: {} }),
    CreateServiceKey: () => ({ name: uuidv4(), permissions, expireTime: soon() }),
    RotateServiceKey: () => ({ id: life.serviceKeyId, overlap: {} }),
    CreateUser: () => ({ email: email(), role: "caller" }),
    // Of nobody, where it is not refused: a password is not hashed for each.
    ResetPassword: (isRefused) => ({ id: isRefused ? bystander.id : uuidv4() }),
    ImportApiKeys: () => ({
      organizationId,
      ownerId: bystander.id,
      format: { prefix: "old_", length: 40, alphabet: KeyAlphabet.BASE62 },
      hashing: { algorithm: KeyHashAlgorithm.SHA256 },
      keys: [{ name: "imported", permissions, hash: randomBytes(32), expireTime: soon() }],
      mode: ImportMode.ALL_OR_NOTHING,
    }),
    ImportUsers: () => ({
      users: [{ email: email(), organizationId, role: "caller", passwordHash: OLD_HASH }],
      mode: ImportMode.ALL_OR_NOTHING,
    }),
    RotateSigningKey: () => ({}),
  };
}

/** With what is in the message itself, in the order in which they do not spoil each other. */
export function callsByProof(life: Life, { text }: Password): readonly Call[] {
  const { user, acme, globex, sessions, invited, reset } = life;
  const byRefreshToken = (name: "first" | "second" | "elsewhere", member: Standing[0][0]) => {
    const { refreshToken } = sessions[name];
    return grant(
      `IssueToken by the refresh token (${name})`,
      { case: "refreshToken", value: { refreshToken } },
      [
        [member, "USER_DISABLED"],
        [`session ${name}`, "TOKEN_REVOKED"],
        [`end of session ${name}`, "REFRESH_TOKEN_EXPIRED"],
        [`idle end of session ${name}`, "REFRESH_TOKEN_EXPIRED"],
        ...(name === "elsewhere" ? [] : ([["organization", "ORGANIZATION_SUSPENDED"]] as const)),
      ],
    );
  };
  const password = (email: string) => ({ case: "password", value: { email, password: text } });
  const oneTime: Standing = [
    ["password reset", "LOGIN_FAILED"],
    ["member reset", "LOGIN_FAILED"],
  ];
  const change = (email: string) => ({
    email,
    currentPassword: text,
    newPassword: uuidv4(),
    keepSessions: true,
  });
  return [
    byRefreshToken("first", "member user"),
    byRefreshToken("second", "member user"),
    byRefreshToken("elsewhere", "member user elsewhere"),
    grant(
      "IssueToken by the password",
      password(user.email),
      [
        ["password user", "LOGIN_FAILED"],
        ["member user", "LOGIN_FAILED"],
        ["organization", "ORGANIZATION_SUSPENDED"],
      ],
      acme.id,
    ),
    grant(
      "IssueToken by the password for another organization",
      password(user.email),
      [
        ["password user", "LOGIN_FAILED"],
        ["member user elsewhere", "LOGIN_FAILED"],
      ],
      globex.id,
    ),
    {
      ...grant("IssueToken by a one-time password", password(reset.email), oneTime),
      otherwise: "PASSWORD_CHANGE_REQUIRED",
    },
    ask("ChangePassword by a one-time password", "ChangePassword", change(reset.email), oneTime),
    ask(
      "AcceptMembership",
      "AcceptMembership",
      { email: invited.email, invitation: invited.invitation, password: uuidv4() },
      [
        ["invitation invited", "LOGIN_FAILED"],
        ["member invited", "LOGIN_FAILED"],
        ["organization", "ORGANIZATION_SUSPENDED"],
      ],
    ),
    // By somebody who is let in somewhere.
    ask("ChangePassword", "ChangePassword", change(user.email), [["password user", "LOGIN_FAILED"]]),
  ];
}

function grant(name: string, value: object, stands: Standing, organizationId = ""): Call {
  return ask(name, "IssueToken", { grant: value, organizationId }, stands);
}

function ask(name: string, method: string, message: Record<string, unknown>, stands: Standing): Call {
  return { name, method: methodOf(method), headers: {}, request: () => message, stands };
}

function methodOf(name: string): DescMethod {
  const method = EVERY_METHOD.find((one) => one.name === name);
  if (method === undefined) {
    throw new Error(`there is no ${name}`);
  }
  return method;
}
