import { v4 as uuidv4 } from "uuid";
import type { Reason } from "../../src/errors.ts";
import type { KeySlot } from "../../src/gen/latchkey/v1/key_pb.ts";
import type { Headers } from "../access/actors.ts";
import { type AddedKey, addApiKey, addServiceKey } from "../access/cast.ts";
import { reasonOf } from "../support/refusal.ts";
import {
  ApiKeyService,
  AuthenticationService,
  ServiceKeyService,
  type TestService,
} from "../support/service.ts";

/** A key as the messages of both kinds tell of it. */
export interface KeyMessage {
  readonly id: string;
  readonly displayPrefix: string;
  readonly slots: readonly KeySlot[];
  readonly permissions: readonly string[];
  readonly allowedCidrs: readonly string[];
}

export interface KeyToAdd {
  /** Of API keys. */
  readonly rateLimit?: { readonly requests: number; readonly windowSeconds: number };
  readonly permissions?: readonly string[];
  readonly allowedCidrs?: readonly string[];
  readonly expireTime?: Date;
}

export interface KeyToUpdate {
  readonly id: string;
  readonly permissions?: { values: string[] };
  readonly expiry?:
    | { case: "expireTime"; value: { seconds: bigint } }
    | { case: "neverExpires"; value: true };
  readonly allowedCidrs?: { values: string[] };
}

/** One kind of key: what is promised of both is tested with both. */
export interface KeyDriver {
  readonly name: string;
  readonly table: string;
  readonly action: string;
  readonly header: string;
  readonly reasons: Readonly<Record<"invalid" | "rotated" | "expired" | "revoked", Reason>>;
  /** Adds one, past the service. */
  add(asked?: KeyToAdd): Promise<AddedKey>;
  get(id: string, as: Headers): Promise<KeyMessage>;
  update(asked: KeyToUpdate, as: Headers): Promise<KeyMessage>;
  rotate(id: string, overlapSeconds: number, as: Headers): Promise<{ key: KeyMessage; secret: string }>;
  cancel(id: string, as: Headers): Promise<KeyMessage>;
  finish(id: string, as: Headers): Promise<KeyMessage>;
  revoke(id: string, as: Headers): Promise<KeyMessage>;
  /** Why a secret is refused. Undefined: it is not. */
  refusal(text: string, clientAddress?: string): Promise<string | undefined>;
}

/** @param service that is called; keys are put into its database. */
export function keyDrivers(service: TestService): readonly KeyDriver[] {
  const { core, organizationId, admin } = service;
  const overlapOf = (seconds: number) => ({ seconds: BigInt(seconds) });
  const present = (header: string) => (value: string, clientAddress?: string) =>
    reasonOf(
      service
        .client(AuthenticationService)
        .authenticate({ headers: [{ name: header, value }], clientAddress: clientAddress ?? "" }),
    );
  const apiKeys = (as: Headers) => service.client(ApiKeyService, as);
  const serviceKeys = (as: Headers) => service.client(ServiceKeyService, as);
  return [
    {
      name: "API key",
      table: "api_key",
      action: "api_key",
      header: "x-api-key",
      reasons: {
        invalid: "API_KEY_INVALID",
        rotated: "API_KEY_ROTATED",
        expired: "API_KEY_EXPIRED",
        revoked: "API_KEY_REVOKED",
      },
      add: (asked = {}) =>
        addApiKey(core, {
          organizationId,
          owner: { userId: admin.id },
          permissions: ["calls.read"],
          ...asked,
        }),
      get: async (id, as) => told((await apiKeys(as).getApiKey({ id })).apiKey),
      update: async (asked, as) => told((await apiKeys(as).updateApiKey(asked)).apiKey),
      async rotate(id, overlapSeconds, as) {
        const asked = { id, overlap: overlapOf(overlapSeconds) };
        const { apiKey, secret } = await apiKeys(as).rotateApiKey(asked);
        return { key: told(apiKey), secret };
      },
      cancel: async (id, as) => told((await apiKeys(as).cancelRotation({ id })).apiKey),
      finish: async (id, as) => told((await apiKeys(as).finishRotation({ id })).apiKey),
      revoke: async (id, as) => told((await apiKeys(as).revokeApiKey({ id })).apiKey),
      refusal: present("x-api-key"),
    },
    {
      name: "internal key",
      table: "service_key",
      action: "service_key",
      header: "x-internal-key",
      reasons: {
        invalid: "SERVICE_KEY_INVALID",
        rotated: "SERVICE_KEY_ROTATED",
        expired: "SERVICE_KEY_EXPIRED",
        revoked: "SERVICE_KEY_REVOKED",
      },
      add: ({ rateLimit: _, ...asked } = {}) =>
        addServiceKey(core, { name: `service-${uuidv4()}`, permissions: ["calls.read"], ...asked }),
      get: async (id, as) => told((await serviceKeys(as).getServiceKey({ id })).serviceKey),
      update: async (asked, as) => told((await serviceKeys(as).updateServiceKey(asked)).serviceKey),
      async rotate(id, overlapSeconds, as) {
        const asked = { id, overlap: overlapOf(overlapSeconds) };
        const { serviceKey, secret } = await serviceKeys(as).rotateServiceKey(asked);
        return { key: told(serviceKey), secret };
      },
      cancel: async (id, as) => told((await serviceKeys(as).cancelServiceKeyRotation({ id })).serviceKey),
      finish: async (id, as) => told((await serviceKeys(as).finishServiceKeyRotation({ id })).serviceKey),
      revoke: async (id, as) => told((await serviceKeys(as).revokeServiceKey({ id })).serviceKey),
      refusal: present("x-internal-key"),
    },
  ];
}

function told<Key>(key: Key | undefined): Key {
  if (key === undefined) {
    throw new Error("the answer holds no key");
  }
  return key;
}
