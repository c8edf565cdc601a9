import { pino } from "pino";
import { v4 as uuidv4 } from "uuid";
import { type AuditKeys, loadAuditKeys } from "../../src/audit/audit-keys.ts";
import { AuditSealer, type AuditSealerOptions } from "../../src/audit/audit-sealer.ts";
import { type Verification, verifyAuditLog } from "../../src/audit/verify-audit-log.ts";
import { type Author, type Event, mutate } from "../../src/changes/mutate.ts";
import type { Storage } from "../../src/storage/open-storage.ts";
import { createSeal } from "../../src/storage/seal.ts";
import { ISSUER, type TestService } from "../support/service.ts";

const AUTHOR: Author = { type: "operator", id: "test" };

/** Adds an event of an organization, or of the platform, as every change does. @returns what it was done to. */
export async function addEvent(
  storage: Storage,
  organizationId: string | undefined,
  event: Partial<Event> = {},
  author = AUTHOR,
): Promise<string> {
  const targetId = uuidv4();
  await mutate(storage, author, async () => ({
    result: undefined,
    event: {
      organizationId,
      action: "test.change",
      targetId,
      detail: { after: { name: targetId } },
      ...event,
    },
    tags: [],
  }));
  return targetId;
}

/** What seals and verifies on the database of a service, whenever a test wants it. */
export interface Sealing {
  readonly keys: AuditKeys;
  /** With checkpoints at once, unless it says otherwise. */
  sealer(options?: Partial<AuditSealerOptions>): AuditSealer;
  /** To the end, or to the first fault. */
  verify(chain: string, checkpoint?: string): Promise<Verification>;
}

export async function sealingOf({ core, encryptionKey }: TestService): Promise<Sealing> {
  const { storage } = core;
  const seal = createSeal(encryptionKey);
  const keys = await loadAuditKeys(storage, seal);
  return {
    keys,
    sealer: (options = {}) =>
      new AuditSealer({
        storage,
        keys,
        issuer: ISSUER,
        log: pino({ level: "silent" }),
        pace: { seconds: 0, events: 1 },
        ...options,
      }),
    async verify(chain, checkpoint = "") {
      const parts = { storage, seal, auditKeys: keys };
      let found = await verifyAuditLog(parts, chain, { pageToken: "", checkpoint });
      while (found.nextPageToken !== "") {
        found = await verifyAuditLog(parts, chain, { pageToken: found.nextPageToken, checkpoint: "" });
      }
      return found;
    },
  };
}
