import { defineEntity, p } from "@mikro-orm/core";

const UserSchema = defineEntity({
  name: "User",
  tableName: "users",
  properties: {
    /** A random UUID, not a UUIDv7: its owner's other organizations must not read from it how old it is. */
    id: p.uuid().primary(),
    /** In canonical form: NFKC and lower case. */
    email: p.text().unique(),
    /** Argon2id in the PHC string format. Without it nobody logs in. */
    passwordHash: p.text().nullable(),
    /** An initial or one-time password ends here unless it was changed. */
    passwordExpireTime: p.datetime().columnType("timestamptz").nullable(),
    /** Whether the password is good for nothing but to be changed. */
    passwordChangeRequired: p.boolean().default(false),
    /** The organization that created the account. */
    homeOrganizationId: p.uuid().nullable().index("users_home_organization_id_idx"),
    /** When somebody has shown that the account is theirs. Until then, an invitation is enough to take it. */
    claimTime: p.datetime().columnType("timestamptz").nullable().defaultRaw("now()"),
    /** Nothing personal is left of who was deleted. */
    deleteTime: p.datetime().columnType("timestamptz").nullable(),
    /** `administrator` holds every PLATFORM permission. */
    platformRole: p.text().$type<"administrator">().nullable(),
    /** Of all that the person was imported with, under the pepper. */
    importDigest: p.blob().nullable(),
    createTime: p.datetime().columnType("timestamptz").defaultRaw("now()"),
  },
});

/** A person, known in the whole deployment by their email address. */
export class User extends UserSchema.class {}
UserSchema.setClass(User);
