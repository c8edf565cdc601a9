import { raw } from "@mikro-orm/core";
import { mutate } from "../../changes/mutate.ts";
import { AuthError } from "../../errors.ts";
import type { Storage } from "../../storage/open-storage.ts";
import { type ReadTokenParts, readToken } from "./read-token.ts";
import { Session } from "./session-entity.ts";

/**
 * Ends the session of a token. A text that is no token of ours, or one that has ended, is no error
 * (RFC 7009 section 2.2); it changes nothing.
 */
export async function revokeToken(
  parts: ReadTokenParts & { readonly storage: Storage },
  token: string,
): Promise<void> {
  const session = await readToken(parts, token, undefined).catch((error: unknown) => {
    if (error instanceof AuthError) {
      return undefined;
    }
    throw error;
  });
  if (session === undefined) {
    return;
  }
  const author = { type: "user", id: session.user.id } as const;
  await mutate(parts.storage, author, async (em) => {
    const ended = await em.nativeUpdate(
      Session,
      { id: session.id, revokeTime: null },
      { revokeTime: raw("now()") },
    );
    if (ended === 0) {
      return { result: undefined, unchanged: true };
    }
    const organizationId = session.organization.id;
    const detail = { before: { revoked: false }, after: { revoked: true, userId: session.user.id } };
    const event = { organizationId, action: "session.revoke", targetId: session.id, detail };
    return { result: undefined, event, tags: [`session:${session.id}`] };
  });
}
