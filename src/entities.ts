import { Session } from "./credentials/access-token/session-entity.ts";
import { ApiKey, ApiKeySlot } from "./credentials/api-key/api-key-entity.ts";
import { Pepper } from "./credentials/pepper-entity.ts";
import { ServiceKey, ServiceKeySlot } from "./credentials/service-key/service-key-entity.ts";
import { SigningKey } from "./credentials/signing-key/signing-key-entity.ts";
import { Organization } from "./organizations/organization-entity.ts";
import { Permission } from "./permissions/permission-entity.ts";
import { Role } from "./permissions/role-entity.ts";
import { Membership } from "./users/membership-entity.ts";
import { User } from "./users/user-entity.ts";

/** Everything that is kept in the database and managed through the ORM. */
export const entities = [
  ApiKey,
  ApiKeySlot,
  Membership,
  Organization,
  Pepper,
  Permission,
  Role,
  ServiceKey,
  ServiceKeySlot,
  Session,
  SigningKey,
  User,
];
