import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { v4 as uuidv4 } from "uuid";
import { ImportMode, KeyAlphabet, KeyHashAlgorithm } from "../../src/gen/latchkey/v1/api_key_pb.ts";
import { RoleService } from "../../src/gen/latchkey/v1/role_pb.ts";
import { query } from "../support/cluster.ts";
import {
  ApiKeyService,
  AuthenticationService,
  OrganizationService,
  ServiceKeyService,
  UserService,
} from "../support/service.ts";
import { until } from "../support/until.ts";
import { internalKey, type World } from "./actors.ts";

/** What belongs to globex and to the platform, as somebody of acme may have seen or guessed it. */
export interface Foreign {
  /** Their ids, and what else tells of them, that no answer to somebody of acme may hold. */
  readonly marks: readonly string[];
  /** The text of an API key that globex has taken over from another system. */
  readonly importedKey: string;
  /** The public parts of their secrets. */
  readonly lookupIds: readonly string[];
  /** What to try in the place of any text. */
  readonly values: readonly string[];
}

export async function makeForeign(world: World): Promise<Foreign> {
  const { service, globex } = world;
  const internal = internalKey(service.internalKey);
  const apiKeys = service.client(ApiKeyService, internal);
  const importedKey = `old_${randomBytes(18).toString("hex")}`;
  const { results } = await apiKeys.importApiKeys({
    organizationId: globex.id,
    ownerId: globex.ownerId,
    format: { prefix: "old_", length: 40, alphabet: KeyAlphabet.HEX },
    hashing: { algorithm: KeyHashAlgorithm.SHA256 },
    mode: ImportMode.ALL_OR_NOTHING,
    keys: [
      {
        name: `imported ${uuidv4()}`,
        permissions: ["calls.read"],
        hash: createHash("sha256").update(importedKey).digest(),
        metadata: { entries: { note: `metadata ${uuidv4()}` } },
      },
    ],
  });
  const importedId = results[0]?.id ?? assert.fail("it was imported");
  // Its first use puts its secret into a slot.
  await service
    .client(AuthenticationService)
    .authenticate({ headers: [{ name: "X-API-Key", value: importedKey }] });
  await until("its secret is in a slot, and its use is written down", async () => {
    const [row] = await query<{ count: number }>(
      service.connection,
      `select count(*)::int from api_key_slots s join key_usage u using (lookup_id) where s.api_key_id = $1`,
      [importedId],
    );
    return row?.count === 1;
  });
  const found = (sql: string) =>
    query<{ mark: string }>(service.connection, sql, sql.includes("$1") ? [globex.id] : []).then((rows) =>
      rows.map(({ mark }) => mark),
    );
  const lookupIds = [
    ...(await found("select lookup_id as mark from api_key_slots where organization_id = $1")),
    ...(await found("select lookup_id as mark from service_key_slots")),
  ];
  const marks = [
    ...globex.marks,
    ...lookupIds,
    importedId,
    world.serviceKeyId,
    ...(await found("select name as mark from api_keys where organization_id = $1 and imported")),
    ...(await found(
      "select metadata ->> 'note' as mark from api_keys where organization_id = $1 and imported",
    )),
    ...(await found("select id::text as mark from imported_key_formats")),
  ];
  const ofGlobex = { organizationId: globex.id, pageSize: 1 };
  const pages = [
    await apiKeys.listApiKeys(ofGlobex),
    await service.client(UserService, internal).listUsers(ofGlobex),
    await service.client(RoleService, internal).listRoles(ofGlobex),
    await service.client(OrganizationService, internal).listOrganizations({ pageSize: 1 }),
    await service.client(ServiceKeyService, internal).listServiceKeys({ pageSize: 1 }),
  ];
  const tokens = pages.map(({ nextPageToken }) => nextPageToken);
  assert.ok(tokens.every((token) => token !== ""));
  const ofPlatform = await found("select name as mark from permissions where scope = 'platform' order by 1");
  return {
    marks,
    importedKey,
    lookupIds,
    values: [
      ...marks,
      globex.id.toUpperCase(),
      globex.apiKeyId.toUpperCase(),
      service.admin.id,
      service.admin.email,
      ...tokens,
      ...ofPlatform.slice(0, 2),
      "platform.*",
      "*",
      "administrator",
      "owner",
      "' or true --",
      "%",
      "",
    ],
  };
}
