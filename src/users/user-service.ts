import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { type Actor, oneOrganization } from "../authenticate/actor.ts";
import type { Idempotently } from "../changes/idempotent-service.ts";
import type { KeyHasher } from "../credentials/key-digest.ts";
import {
  type ChangePasswordRequest,
  type ChangePasswordResponse,
  ChangePasswordResponseSchema,
  type CreateUserRequest,
  type CreateUserResponse,
  CreateUserResponseSchema,
  type GetUserRequest,
  type GetUserResponse,
  GetUserResponseSchema,
  type ImportUsersRequest,
  type ImportUsersResponse,
  type ListUsersRequest,
  type ListUsersResponse,
  ListUsersResponseSchema,
  type RemoveMembershipRequest,
  type RemoveMembershipResponse,
  RemoveMembershipResponseSchema,
  type UpdateUserRequest,
  type UpdateUserResponse,
  UpdateUserResponseSchema,
  type User as UserMessage,
  UserSchema,
  type UserService,
} from "../gen/latchkey/v1/user_pb.ts";
import { getOrganization } from "../organizations/read-organizations.ts";
import type { Pager } from "../storage/page.ts";
import { changePassword } from "./change-password.ts";
import { createUser } from "./create-user.ts";
import { importUsersCall } from "./import-service.ts";
import type { LoginParts } from "./login.ts";
import type { PasswordPolicy } from "./password-policy.ts";
import { getUser, listUsers } from "./read-users.ts";
import { removeMembership } from "./remove-membership.ts";
import { updateUser } from "./update-user.ts";
import type { UserView } from "./user-view.ts";

export interface UserServiceParts extends LoginParts {
  readonly pager: Pager;
  readonly keyHasher: KeyHasher;
  readonly passwordPolicy: PasswordPolicy;
  readonly actorOf: (context: HandlerContext) => Actor;
  readonly peerAddressOf: (context: HandlerContext) => string;
  readonly idempotently: Idempotently;
}

export class UserServiceImpl implements ServiceImpl<typeof UserService> {
  readonly #parts: UserServiceParts;

  constructor(parts: UserServiceParts) {
    this.#parts = parts;
  }

  async createUser(request: CreateUserRequest, context: HandlerContext): Promise<CreateUserResponse> {
    const { storage, passwordHasher, passwordPolicy } = this.#parts;
    const actor = this.#parts.actorOf(context);
    const { name } = await getOrganization(storage, actor, oneOrganization(actor));
    const { email, displayName } = request;
    passwordPolicy.requireStrength(request.password, { email, names: [displayName, name] });
    const asked = { ...request, passwordHash: await passwordHasher.hash(request.password) };
    return await this.#parts.idempotently(context, request, CreateUserResponseSchema, async (once) => {
      const user = await createUser(once, actor, asked);
      return create(CreateUserResponseSchema, { user: userMessage(user) });
    });
  }

  async getUser(request: GetUserRequest, context: HandlerContext): Promise<GetUserResponse> {
    const user = await getUser(this.#parts.storage, this.#parts.actorOf(context), request.id);
    return create(GetUserResponseSchema, { user: userMessage(user) });
  }

  async listUsers(request: ListUsersRequest, context: HandlerContext): Promise<ListUsersResponse> {
    const page = await listUsers(this.#parts, this.#parts.actorOf(context), request);
    return create(ListUsersResponseSchema, {
      users: page.rows.map(userMessage),
      nextPageToken: page.nextPageToken,
    });
  }

  async updateUser(request: UpdateUserRequest, context: HandlerContext): Promise<UpdateUserResponse> {
    const { id, role, disabled } = request;
    const asked = { id, role, disabled };
    const { user, narrowedKeys } = await updateUser(this.#parts.storage, this.#parts.actorOf(context), asked);
    return create(UpdateUserResponseSchema, {
      user: userMessage(user),
      narrowedApiKeys: narrowedKeys,
    });
  }

  async removeMembership(
    request: RemoveMembershipRequest,
    context: HandlerContext,
  ): Promise<RemoveMembershipResponse> {
    const { storage } = this.#parts;
    const { handedOver, revoked, known } = await removeMembership(
      storage,
      this.#parts.actorOf(context),
      request,
    );
    return create(RemoveMembershipResponseSchema, {
      handedOverApiKeyIds: [...handedOver],
      revokedApiKeyIds: [...revoked],
      knownApiKeyIds: [...known],
    });
  }

  async importUsers(request: ImportUsersRequest, context: HandlerContext): Promise<ImportUsersResponse> {
    return await importUsersCall(this.#parts, this.#parts.actorOf(context), request);
  }

  async changePassword(
    request: ChangePasswordRequest,
    context: HandlerContext,
  ): Promise<ChangePasswordResponse> {
    const peerAddress = this.#parts.peerAddressOf(context);
    await changePassword(this.#parts, { ...request, peerAddress });
    return create(ChangePasswordResponseSchema);
  }
}

function userMessage(user: UserView): UserMessage {
  return create(UserSchema, { ...user, createTime: timestampFromDate(user.createTime) });
}
