import { type ContextKey, createContextKey } from "@connectrpc/connect";
import type { WireProtocol } from "./wire-format.ts";

/** What the transport knows of a call while Connect has it. */
export interface WireCall {
  readonly protocol: WireProtocol;
  /** Whether Connect has read so far that the call is the interceptors' business. */
  isReached: boolean;
  /** Aborted at the call's deadline, when its client is gone, and with the reason why it failed. */
  signal: AbortSignal | undefined;
}

export const wireCallKey: ContextKey<WireCall | undefined> = createContextKey<WireCall | undefined>(
  undefined,
);
