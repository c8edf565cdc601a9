import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { Actor } from "../authenticate/actor.ts";
import type { OrganizationView } from "../authenticate/decision.ts";
import type { Idempotently } from "../changes/idempotent-service.ts";
import {
  type CreateOrganizationRequest,
  type CreateOrganizationResponse,
  CreateOrganizationResponseSchema,
  type DeleteOrganizationRequest,
  type DeleteOrganizationResponse,
  DeleteOrganizationResponseSchema,
  type GetOrganizationRequest,
  type GetOrganizationResponse,
  GetOrganizationResponseSchema,
  type ListOrganizationsRequest,
  type ListOrganizationsResponse,
  ListOrganizationsResponseSchema,
  type Organization as OrganizationMessage,
  OrganizationSchema,
  type OrganizationService,
  type UpdateOrganizationRequest,
  type UpdateOrganizationResponse,
  UpdateOrganizationResponseSchema,
} from "../gen/latchkey/v1/organization_pb.ts";
import type { Storage } from "../storage/open-storage.ts";
import type { Pager } from "../storage/page.ts";
import { createOrganization } from "./create-organization.ts";
import { deleteOrganization } from "./delete-organization.ts";
import type { Organization } from "./organization-entity.ts";
import { getOrganization, listOrganizations } from "./read-organizations.ts";
import { updateOrganization } from "./update-organization.ts";

export interface OrganizationServiceParts {
  readonly storage: Storage;
  readonly pager: Pager;
  readonly actorOf: (context: HandlerContext) => Actor;
  readonly idempotently: Idempotently;
}

export class OrganizationServiceImpl implements ServiceImpl<typeof OrganizationService> {
  readonly #parts: OrganizationServiceParts;

  constructor(parts: OrganizationServiceParts) {
    this.#parts = parts;
  }

  async createOrganization(
    request: CreateOrganizationRequest,
    context: HandlerContext,
  ): Promise<CreateOrganizationResponse> {
    const actor = this.#parts.actorOf(context);
    return await this.#parts.idempotently(
      context,
      request,
      CreateOrganizationResponseSchema,
      async (storage) => {
        const organization = await createOrganization(storage, actor, request.name);
        return create(CreateOrganizationResponseSchema, { organization: messageOf(organization) });
      },
    );
  }

  async getOrganization(
    request: GetOrganizationRequest,
    context: HandlerContext,
  ): Promise<GetOrganizationResponse> {
    const actor = this.#parts.actorOf(context);
    const organization = await getOrganization(this.#parts.storage, actor, request.id);
    return create(GetOrganizationResponseSchema, { organization: messageOf(organization) });
  }

  async listOrganizations(request: ListOrganizationsRequest): Promise<ListOrganizationsResponse> {
    const page = await listOrganizations(this.#parts, request);
    return create(ListOrganizationsResponseSchema, {
      organizations: page.rows.map(messageOf),
      nextPageToken: page.nextPageToken,
    });
  }

  async updateOrganization(
    request: UpdateOrganizationRequest,
    context: HandlerContext,
  ): Promise<UpdateOrganizationResponse> {
    const actor = this.#parts.actorOf(context);
    const organization = await updateOrganization(this.#parts.storage, actor, {
      id: request.id,
      name: request.name,
      suspended: request.suspended,
    });
    return create(UpdateOrganizationResponseSchema, { organization: messageOf(organization) });
  }

  async deleteOrganization(
    request: DeleteOrganizationRequest,
    context: HandlerContext,
  ): Promise<DeleteOrganizationResponse> {
    const actor = this.#parts.actorOf(context);
    const deleted = await deleteOrganization(this.#parts.storage, actor, request);
    return create(DeleteOrganizationResponseSchema, deleted);
  }
}

/** An organization as the contract shows it. */
export function organizationMessage(view: OrganizationView): OrganizationMessage {
  return create(OrganizationSchema, { ...view, createTime: timestampFromDate(view.createTime) });
}

function messageOf(organization: Organization): OrganizationMessage {
  const { id, name, suspendTime, createTime } = organization;
  return organizationMessage({ id, name, suspended: suspendTime != null, createTime });
}
