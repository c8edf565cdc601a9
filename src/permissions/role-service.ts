import { create } from "@bufbuild/protobuf";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { Actor } from "../authenticate/actor.ts";
import type { Idempotently } from "../changes/idempotent-service.ts";
import { PermissionScope } from "../gen/latchkey/v1/access_pb.ts";
import {
  type CreateRoleRequest,
  type CreateRoleResponse,
  CreateRoleResponseSchema,
  type DefinePermissionRequest,
  type DefinePermissionResponse,
  DefinePermissionResponseSchema,
  type DeleteRoleRequest,
  type DeleteRoleResponse,
  DeleteRoleResponseSchema,
  type ListPermissionsRequest,
  type ListPermissionsResponse,
  ListPermissionsResponseSchema,
  type ListRolesRequest,
  type ListRolesResponse,
  ListRolesResponseSchema,
  type Permission as PermissionMessage,
  PermissionSchema,
  type Role as RoleMessage,
  RoleSchema,
  type RoleService,
  type UpdateRoleRequest,
  type UpdateRoleResponse,
  UpdateRoleResponseSchema,
} from "../gen/latchkey/v1/role_pb.ts";
import type { Storage } from "../storage/open-storage.ts";
import type { Pager } from "../storage/page.ts";
import { createRole } from "./create-role.ts";
import { definePermission } from "./define-permission.ts";
import { deleteRole } from "./delete-role.ts";
import { listPermissions } from "./list-permissions.ts";
import type { Permission } from "./permission-entity.ts";
import { listRoles } from "./read-roles.ts";
import type { Role } from "./role-entity.ts";
import { updateRole } from "./update-role.ts";

export interface RoleServiceParts {
  readonly storage: Storage;
  readonly pager: Pager;
  readonly actorOf: (context: HandlerContext) => Actor;
  readonly idempotently: Idempotently;
}

export class RoleServiceImpl implements ServiceImpl<typeof RoleService> {
  readonly #parts: RoleServiceParts;

  constructor(parts: RoleServiceParts) {
    this.#parts = parts;
  }

  async createRole(request: CreateRoleRequest, context: HandlerContext): Promise<CreateRoleResponse> {
    const actor = this.#parts.actorOf(context);
    const asked = { name: request.name, permissions: request.permissions?.values ?? [] };
    return await this.#parts.idempotently(context, request, CreateRoleResponseSchema, async (storage) => {
      const role = await createRole(storage, actor, asked);
      return create(CreateRoleResponseSchema, { role: roleMessage(role) });
    });
  }

  async listRoles(request: ListRolesRequest, context: HandlerContext): Promise<ListRolesResponse> {
    const page = await listRoles(this.#parts, this.#parts.actorOf(context), request);
    return create(ListRolesResponseSchema, {
      roles: page.rows.map(roleMessage),
      nextPageToken: page.nextPageToken,
    });
  }

  async updateRole(request: UpdateRoleRequest, context: HandlerContext): Promise<UpdateRoleResponse> {
    const { role, narrowedKeys } = await updateRole(this.#parts.storage, this.#parts.actorOf(context), {
      id: request.id,
      name: request.name,
      permissions: request.permissions?.values,
    });
    return create(UpdateRoleResponseSchema, {
      role: roleMessage(role),
      narrowedApiKeys: narrowedKeys,
    });
  }

  async deleteRole(request: DeleteRoleRequest, context: HandlerContext): Promise<DeleteRoleResponse> {
    await deleteRole(this.#parts.storage, this.#parts.actorOf(context), request.id);
    return create(DeleteRoleResponseSchema);
  }

  async listPermissions(_request: ListPermissionsRequest): Promise<ListPermissionsResponse> {
    const permissions = await listPermissions(this.#parts.storage);
    return create(ListPermissionsResponseSchema, { permissions: permissions.map(permissionMessage) });
  }

  async definePermission(
    request: DefinePermissionRequest,
    context: HandlerContext,
  ): Promise<DefinePermissionResponse> {
    const { name, description } = request;
    const scope = request.scope === PermissionScope.PLATFORM ? "platform" : "organization";
    const asked = { name, description, scope } as const;
    const permission = await definePermission(this.#parts.storage, this.#parts.actorOf(context), asked);
    return create(DefinePermissionResponseSchema, { permission: permissionMessage(permission) });
  }
}

function roleMessage({ id, organizationId, name, permissions, builtIn }: Role): RoleMessage {
  return create(RoleSchema, { id, organizationId, name, permissions: permissions.toSorted(), builtIn });
}

const SCOPES = {
  organization: PermissionScope.ORGANIZATION,
  platform: PermissionScope.PLATFORM,
} as const;

function permissionMessage({ name, scope, description }: Permission): PermissionMessage {
  return create(PermissionSchema, { name, scope: SCOPES[scope], description });
}
