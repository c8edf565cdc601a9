import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { Actor } from "../../authenticate/actor.ts";
import {
  type ListSigningKeysRequest,
  type ListSigningKeysResponse,
  ListSigningKeysResponseSchema,
  type RevokeSigningKeyRequest,
  type RevokeSigningKeyResponse,
  RevokeSigningKeyResponseSchema,
  type RotateSigningKeyRequest,
  type RotateSigningKeyResponse,
  RotateSigningKeyResponseSchema,
  type SigningKey as SigningKeyMessage,
  SigningKeySchema,
  type SigningKeyService,
  SigningKeyState,
} from "../../gen/latchkey/v1/signing_key_pb.ts";
import type { Storage } from "../../storage/open-storage.ts";
import type { Pager } from "../../storage/page.ts";
import type { Seal } from "../../storage/seal.ts";
import type { SigningAlgorithm } from "./new-signing-key.ts";
import { listSigningKeys, type SigningKeyView } from "./read-signing-keys.ts";
import { revokeSigningKey } from "./revoke-signing-key.ts";
import { rotateSigningKey } from "./rotate-signing-key.ts";
import type { SigningKeys } from "./signing-keys.ts";

export interface SigningKeyServiceParts {
  readonly storage: Storage;
  readonly seal: Seal;
  readonly pager: Pager;
  readonly signingKeys: SigningKeys;
  readonly signingAlgorithm: SigningAlgorithm;
  readonly actorOf: (context: HandlerContext) => Actor;
}

export class SigningKeyServiceImpl implements ServiceImpl<typeof SigningKeyService> {
  readonly #parts: SigningKeyServiceParts;

  constructor(parts: SigningKeyServiceParts) {
    this.#parts = parts;
  }

  async listSigningKeys(request: ListSigningKeysRequest): Promise<ListSigningKeysResponse> {
    const page = await listSigningKeys(this.#parts, request);
    return create(ListSigningKeysResponseSchema, {
      signingKeys: page.rows.map(signingKeyMessage),
      nextPageToken: page.nextPageToken,
    });
  }

  async rotateSigningKey(
    _request: RotateSigningKeyRequest,
    context: HandlerContext,
  ): Promise<RotateSigningKeyResponse> {
    const { signingKeys, signingAlgorithm: algorithm, actorOf } = this.#parts;
    const view = await rotateSigningKey({ ...this.#parts, algorithm }, actorOf(context));
    await signingKeys.refresh();
    return create(RotateSigningKeyResponseSchema, { signingKey: signingKeyMessage(view) });
  }

  async revokeSigningKey(
    request: RevokeSigningKeyRequest,
    context: HandlerContext,
  ): Promise<RevokeSigningKeyResponse> {
    const { signingKeys, signingAlgorithm: algorithm, actorOf } = this.#parts;
    const view = await revokeSigningKey({ ...this.#parts, algorithm }, actorOf(context), request);
    await signingKeys.refresh();
    return create(RevokeSigningKeyResponseSchema, { signingKey: signingKeyMessage(view) });
  }
}

const STATES = {
  next: SigningKeyState.NEXT,
  active: SigningKeyState.ACTIVE,
  retired: SigningKeyState.RETIRED,
  gone: SigningKeyState.GONE,
  revoked: SigningKeyState.REVOKED,
} as const;

function signingKeyMessage({ key, state }: SigningKeyView): SigningKeyMessage {
  return create(SigningKeySchema, {
    id: key.kid,
    algorithm: key.algorithm,
    state: STATES[state],
    publishTime: timestampFromDate(key.publishTime),
    activateTime: timestampFromDate(key.activateTime),
    ...(key.retireTime && { retireTime: timestampFromDate(key.retireTime) }),
    ...(key.removeTime && { removeTime: timestampFromDate(key.removeTime) }),
    ...(key.revokeTime && { revokeTime: timestampFromDate(key.revokeTime) }),
    revokeReason: key.revokeReason ?? "",
  });
}
