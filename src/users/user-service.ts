import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { type Actor, oneOrganization } from "../authenticate/actor.ts";
import type { Idempotently } from "../changes/idempotent-service.ts";
import type { KeyHasher } from "../credentials/key-digest.ts";
import {
  type AcceptMembershipRequest,
  type AcceptMembershipResponse,
  AcceptMembershipResponseSchema,
  type ChangePasswordRequest,
  type ChangePasswordResponse,
  ChangePasswordResponseSchema,
  type CreateUserRequest,
  type CreateUserResponse,
  CreateUserResponseSchema,
  type DeleteUserRequest,
  type DeleteUserResponse,
  DeleteUserResponseSchema,
  type GetUserRequest,
  type GetUserResponse,
  GetUserResponseSchema,
  type ImportUsersRequest,
  type ImportUsersResponse,
  type ListMembershipsRequest,
  type ListMembershipsResponse,
  ListMembershipsResponseSchema,
  type ListUsersRequest,
  type ListUsersResponse,
  ListUsersResponseSchema,
  MembershipSchema,
  type RemoveMembershipRequest,
  type RemoveMembershipResponse,
  RemoveMembershipResponseSchema,
  type ResetPasswordRequest,
  type ResetPasswordResponse,
  ResetPasswordResponseSchema,
  type UpdateUserRequest,
  type UpdateUserResponse,
  UpdateUserResponseSchema,
  type User as UserMessage,
  UserSchema,
  type UserService,
} from "../gen/latchkey/v1/user_pb.ts";
import { getOrganization } from "../organizations/read-organizations.ts";
import type { Pager } from "../storage/page.ts";
import { acceptMembership } from "./accept-membership.ts";
import { changePassword } from "./change-password.ts";
import { createUser } from "./create-user.ts";
import { deleteUser } from "./delete-user.ts";
import type { EndedKeys } from "./end-membership.ts";
import { importUsersCall } from "./import-service.ts";
import { listMemberships } from "./list-memberships.ts";
import type { LoginParts } from "./login.ts";
import type { PasswordPolicy } from "./password-policy.ts";
import { getUser, listUsers } from "./read-users.ts";
import { removeMembership } from "./remove-membership.ts";
import { resetPassword } from "./reset-password.ts";
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
    const { keyHasher } = this.#parts;
    const actor = this.#parts.actorOf(context);
    const passwordHash = await this.#hashInitial(request, actor);
    return await this.#parts.idempotently(
      context,
      request,
      CreateUserResponseSchema,
      async (storage) => {
        const made = await createUser({ storage, keyHasher }, actor, { ...request, passwordHash });
        const { user, invitation } = made;
        return create(CreateUserResponseSchema, { user: userMessage(user), invitation });
      },
      ({ user }) => user?.id,
    );
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
    const { id, role, disabled, displayName } = request;
    const asked = { id, role, disabled, displayName };
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
    const ended = await removeMembership(storage, this.#parts.actorOf(context), request);
    return create(RemoveMembershipResponseSchema, keyIds(ended));
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

  async acceptMembership(
    request: AcceptMembershipRequest,
    context: HandlerContext,
  ): Promise<AcceptMembershipResponse> {
    const peerAddress = this.#parts.peerAddressOf(context);
    const organizationId = await acceptMembership(this.#parts, { ...request, peerAddress });
    return create(AcceptMembershipResponseSchema, { organizationId });
  }

  async resetPassword(
    request: ResetPasswordRequest,
    context: HandlerContext,
  ): Promise<ResetPasswordResponse> {
    const made = await resetPassword(this.#parts, this.#parts.actorOf(context), request.id);
    return create(ResetPasswordResponseSchema, {
      oneTimePassword: made.text,
      expireTime: timestampFromDate(made.expireTime),
    });
  }

  async deleteUser(request: DeleteUserRequest, context: HandlerContext): Promise<DeleteUserResponse> {
    const ended = await deleteUser(this.#parts.storage, this.#parts.actorOf(context), request);
    return create(DeleteUserResponseSchema, keyIds(ended));
  }

  async listMemberships(
    request: ListMembershipsRequest,
    context: HandlerContext,
  ): Promise<ListMembershipsResponse> {
    const page = await listMemberships(this.#parts, this.#parts.actorOf(context), request);
    return create(ListMembershipsResponseSchema, {
      memberships: page.rows.map((view) =>
        create(MembershipSchema, { ...view, createTime: timestampFromDate(view.createTime) }),
      ),
      nextPageToken: page.nextPageToken,
    });
  }

  async #hashInitial({ password, email, displayName }: CreateUserRequest, actor: Actor) {
    if (password === "") {
      return undefined;
    }
    const { storage, passwordHasher, passwordPolicy } = this.#parts;
    const { name } = await getOrganization(storage, actor, oneOrganization(actor));
    passwordPolicy.requireStrength(password, { email, names: [displayName, name] });
    return await passwordHasher.hash(password);
  }
}

function keyIds({ handedOver, revoked, known }: EndedKeys) {
  return {
    handedOverApiKeyIds: [...handedOver],
    revokedApiKeyIds: [...revoked],
    knownApiKeyIds: [...known],
  };
}

function userMessage(user: UserView): UserMessage {
  return create(UserSchema, { ...user, createTime: timestampFromDate(user.createTime) });
}
