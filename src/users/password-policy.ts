import { randomBytes } from "node:crypto";
import { AuthError } from "../errors.ts";
import { canonical } from "./canonical.ts";
import { loadCommonPasswords } from "./common-passwords.ts";
import { repeated, unforeseen } from "./predictable-text.ts";

const PRODUCT = "latchkey";
/** Shorter words are a part of too much else. */
const SHORTEST_WORD = 3;
const PUNCTUATION_AROUND = /^[\p{P}\p{Z}]+|[\p{P}\p{Z}]+$/gu;
const GENERATED_BYTES = 24;

/** What whoever knows the person tries first. */
export interface PasswordContext {
  readonly email: string;
  /** The person's names and those of their organizations. */
  readonly names: readonly string[];
}

/**
 * Decides which new passwords are good enough. There is no rule of composition (NIST SP 800-63B-4 section
 * 3.1.1.2), and a password that is in force is never judged by it.
 */
export interface PasswordPolicy {
  /** @throws AuthError PASSWORD_TOO_SHORT */
  requireLength(password: string): void;
  /**
   * Takes some milliseconds: for callers who have shown who they are.
   *
   * @throws AuthError PASSWORD_TOO_SHORT, PASSWORD_COMMON, PASSWORD_CONTEXT
   */
  requireStrength(password: string, context: PasswordContext): void;
  /** Makes one up, of at least 192 random bits. */
  generate(): string;
}

/** @param minimumLength in code points. */
export function createPasswordPolicy(minimumLength: number): PasswordPolicy {
  const isCommon = loadCommonPasswords();
  const isWeak = (text: string): boolean => {
    const rest = unforeseen(text);
    const forms = new Set([text, repeated(text), rest]);
    return [...rest].length < minimumLength / 2 || [...forms].some(isCommon);
  };

  const policy: PasswordPolicy = {
    requireLength(password) {
      // One character can stand for many in the other form, and many for one.
      const forms = [password, password.normalize("NFKC")];
      if (forms.some((form) => [...form].length < minimumLength)) {
        throw new AuthError("PASSWORD_TOO_SHORT", {
          message: `The password needs at least ${minimumLength} characters.`,
        });
      }
    },
    requireStrength(password, context) {
      policy.requireLength(password);
      const text = canonical(password);
      if (isWeak(text)) {
        throw new AuthError("PASSWORD_COMMON");
      }
      const words = wordsOf([context.email, ...context.names, PRODUCT]);
      const rest = words.reduce((left, word) => left.replaceAll(word, ""), text);
      if (rest !== text && isWeak(rest.replaceAll(PUNCTUATION_AROUND, ""))) {
        throw new AuthError("PASSWORD_CONTEXT");
      }
    },
    generate: () => randomBytes(Math.max(GENERATED_BYTES, minimumLength)).toString("base64url"),
  };
  return policy;
}

/** The words of names, and names without what stands between their words: the longest first. */
function wordsOf(names: readonly string[]): string[] {
  const words = names
    // The part before the @ is a name of its own.
    .flatMap((name) => canonical(name).split("@"))
    .flatMap((name) => {
      const parts = name.split(/[^\p{L}\p{M}\p{N}]+/u);
      return [parts.join(""), ...parts];
    })
    .filter((word) => [...word].length >= SHORTEST_WORD);
  return [...new Set(words)].sort((one, other) => other.length - one.length);
}
