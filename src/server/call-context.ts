import type { IncomingMessage } from "node:http";
import type { Http2ServerRequest } from "node:http2";
import {
  type ContextKey,
  createContextKey,
  createContextValues,
  type HandlerContext,
} from "@connectrpc/connect";

import type { Actor } from "../authenticate/actor.ts";
import type { HeaderField } from "../credentials/credential-headers.ts";
import { requestIdOf } from "./request-id.ts";

/** The call's own header fields as they came, duplicates and all: what Connect shows has them joined. */
export const rawHeadersKey: ContextKey<readonly HeaderField[]> = createContextKey<readonly HeaderField[]>([]);

/** The address of the socket's other end. Empty: unknown. */
export const peerAddressKey: ContextKey<string> = createContextKey("");

/** What the call is known by, in the log and to its caller. */
export const requestIdKey: ContextKey<string> = createContextKey("");

/** What went wrong on our side, for the log. */
export const faultKey: ContextKey<unknown> = createContextKey<unknown>(undefined);

/** Set by the access interceptor, where the method's rule asks who calls. */
export const actorKey: ContextKey<Actor | undefined> = createContextKey<Actor | undefined>(undefined);

/** Set by the access interceptor for streams: rejects where who calls may not call any more. */
export const readmitKey: ContextKey<() => Promise<void>> = createContextKey<() => Promise<void>>(
  async () => {},
);

/** What the handlers and interceptors of one call are told about it. */
export function contextValuesOf(request: IncomingMessage | Http2ServerRequest) {
  const headers = headerFieldsOf(request.rawHeaders);
  return createContextValues()
    .set(rawHeadersKey, headers)
    .set(requestIdKey, requestIdOf(headers))
    .set(peerAddressKey, request.socket.remoteAddress ?? "");
}

/** @param rawHeaders names and values by turns, as Node has them. */
export function headerFieldsOf(rawHeaders: readonly string[]): HeaderField[] {
  const headers: HeaderField[] = [];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    headers.push({ name: rawHeaders[at] ?? "", value: rawHeaders[at + 1] ?? "" });
  }
  return headers;
}

/** Who calls, where the method's rule lets somebody in only once that is known. */
export function actorOf(context: HandlerContext): Actor {
  const actor = context.values.get(actorKey);
  if (actor === undefined) {
    throw new Error(`no rule of ${context.method.name} says who calls`);
  }
  return actor;
}

/** Who calls, if it was asked. */
export function callerOf(context: HandlerContext): Actor | undefined {
  return context.values.get(actorKey);
}

/** Looks again whether who calls may call, of a stream that goes on for long. It is no use of their credential. */
export function readmit(context: HandlerContext): Promise<void> {
  return context.values.get(readmitKey)();
}

/** The call's own header fields as they came. */
export function rawHeadersOf(context: HandlerContext): readonly HeaderField[] {
  return context.values.get(rawHeadersKey);
}

/** The address of the socket's other end, which is all that is known of where a call comes from. */
export function peerAddressOf(context: HandlerContext): string {
  return context.values.get(peerAddressKey);
}
