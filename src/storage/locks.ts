/**
 * The advisory locks of the database, each for what one process does while the others wait. Any numbers
 * will do that differ, and that nobody else takes in this database.
 */
export const LOCKS = {
  migrate: 0x4c61_7463,
  pepper: 0x4c61_7065,
  signingKey: 0x4c61_736b,
  bootstrap: 0x4c61_6273,
  accounts: 0x4c61_6163,
  auditKey: 0x4c61_616b,
  auditSeal: 0x4c61_6173,
  seedDevelopment: 0x4c61_6465,
  pruneChanges: 0x4c61_7063,
} as const;
