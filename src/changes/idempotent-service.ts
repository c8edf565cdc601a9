import {
  type DescMessage,
  fromBinary,
  type JsonValue,
  type MessageShape,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import type { Actor } from "../authenticate/actor.ts";
import type { Storage } from "../storage/open-storage.ts";
import type { Once } from "./once.ts";

/**
 * Carries out a create, at most once for each idempotency key that its caller sends along.
 *
 * @param schema of the answer.
 * @param work the create, on the storage that it is given.
 * @param subjectOf the id of the person that the answer tells of, whose it is to go with.
 * @throws AuthError IDEMPOTENCY_KEY_REUSED
 */
export type Idempotently = <Schema extends DescMessage>(
  context: HandlerContext,
  request: MessageShape<DescMessage> & { readonly idempotencyKey: string },
  schema: Schema,
  work: (storage: Storage) => Promise<MessageShape<Schema>>,
  subjectOf?: (answer: MessageShape<Schema>) => string | undefined,
) => Promise<MessageShape<Schema>>;

export function createIdempotently(parts: {
  readonly storage: Storage;
  readonly once: Once;
  readonly actorOf: (context: HandlerContext) => Actor;
}): Idempotently {
  return async (context, request, schema, work, subjectOf = () => undefined) => {
    if (request.idempotencyKey === "") {
      return await work(parts.storage);
    }
    const { method } = context;
    const { decision, organizationId = "" } = parts.actorOf(context);
    const call = {
      // What a token was narrowed to is not to be got round by an answer to somebody who held more.
      callerId: decision.parentKey === undefined ? decision.principal.id : decision.credential.id,
      method: `${method.parent.typeName}/${method.name}`,
      idempotencyKey: request.idempotencyKey,
      request: Buffer.from(`${organizationId} ${canonicalJson(toJson(method.input, request))}`),
      write: (answer: MessageShape<typeof schema>) => toBinary(schema, answer),
      read: (bytes: Uint8Array) => fromBinary(schema, bytes),
      subjectOf,
    };
    return await parts.once.run(call, work);
  };
}

/** The entries of a map come in no order that means anything, and some clients change it at each retry. */
function canonicalJson(value: JsonValue): string {
  return JSON.stringify(value, (_, part: JsonValue) =>
    typeof part === "object" && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([one], [other]) => (one < other ? -1 : 1)))
      : part,
  );
}
