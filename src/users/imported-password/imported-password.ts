import { isArgon2Hash, matchesArgon2 } from "../../credentials/imported-key/argon2-hash.ts";
import { isBcryptHash, MOST_BCRYPT_BYTES } from "../../credentials/imported-key/bcrypt-hash.ts";
import { BcryptThread } from "../../credentials/imported-key/bcrypt-thread.ts";
import { isScryptHash, matchesScrypt } from "../../credentials/imported-key/scrypt-hash.ts";
import { withoutDjango } from "./django-hash.ts";
import { isPbkdf2Hash, matchesPbkdf2 } from "./pbkdf2-hash.ts";

/** What tells the hash of another system from Latchkey's own, which may be of the same algorithm. */
const MARK = "imported:";
/** Of cost 13 it takes half a second to check one, and there are two places for all who log in. */
const MOST_BCRYPT_COST = 13;
/** In kibibytes: what OWASP and Django have recommended is at most as much. */
const MOST_MEMORY = 128 * 1024;

type Kind = "bcrypt" | "argon2" | "scrypt" | "pbkdf2";

/** What a hash of each kind begins with, and whether it is one that takes no more to check than is allowed. */
const KINDS: Readonly<Record<Kind, { begins: string; isAffordable: (hash: string) => boolean }>> = {
  bcrypt: { begins: "$2", isAffordable: (hash) => isBcryptHash(hash, MOST_BCRYPT_COST) },
  argon2: { begins: "$argon2", isAffordable: (hash) => isArgon2Hash(hash, MOST_MEMORY) },
  scrypt: { begins: "$scrypt$", isAffordable: (hash) => isScryptHash(hash, MOST_MEMORY) },
  pbkdf2: { begins: "$pbkdf2", isAffordable: isPbkdf2Hash },
};

/**
 * The hash of a password in another system, as it is kept until its owner's first right login.
 *
 * @returns undefined where it is of no kind that is known, or costs more to check than is allowed.
 */
export function readImportedHash(text: string): string | undefined {
  const hash = withoutDjango(text);
  const kind = kindOf(hash);
  return kind !== undefined && KINDS[kind].isAffordable(hash) ? MARK + hash : undefined;
}

/** Whether what is kept is the hash of another system. */
export function isImportedHash(stored: string): boolean {
  return stored.startsWith(MARK);
}

/** Checks a password against the hash of another system, beside the calls. */
export type MatchesImported = (password: string, stored: string) => Promise<boolean>;

export function createMatchesImported(): MatchesImported {
  const bcrypt = new BcryptThread();
  const matchers: Record<Kind, (text: string, hash: string) => Promise<boolean>> = {
    bcrypt: async (text, hash) => {
      const isRight = await bcrypt.matches(text, hash);
      return isRight && isAllForBcrypt(text);
    },
    argon2: matchesArgon2,
    scrypt: (text, hash) => matchesScrypt(text, hash, MOST_MEMORY),
    pbkdf2: matchesPbkdf2,
  };

  return async (password, stored) => {
    const hash = stored.slice(MARK.length);
    const kind = kindOf(hash);
    if (!isImportedHash(stored) || kind === undefined) {
      throw new Error("not the hash of another system");
    }
    // Some systems hashed what was typed, others its normal form. Which of the two is right is not told.
    let isRight = false;
    for (const form of new Set([password, password.normalize("NFKC")])) {
      isRight = (await matchers[kind](form, hash)) || isRight;
    }
    return isRight;
  };
}

function kindOf(hash: string): Kind | undefined {
  return (Object.keys(KINDS) as Kind[]).find((kind) => hash.startsWith(KINDS[kind].begins));
}

/**
 * Whether bcrypt has looked at all of a text: it stops after 72 bytes, and cannot tell `a` from `a`, NUL, `a`.
 * What it does not see would be any text.
 */
function isAllForBcrypt(text: string): boolean {
  return Buffer.byteLength(text) <= MOST_BCRYPT_BYTES && !text.includes("\0");
}
