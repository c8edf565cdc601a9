import { KeyHashAlgorithm } from "./import.ts";

// One text, hashed by others: Python's hashlib, hmac and crypt (libxcrypt), and OpenSSL's Argon2. Each hash is
// of the text as it is, in UTF-8.

/** `old_` and 36 characters to the base 62. */
export const VECTOR_TEXT = "old_Zq3vT9xB2mKpW7dRfYhJ4sLcN8gVaE5uQw1o";
export const HMAC_SECRET = Buffer.from("the other system's secret");

export interface Vector {
  readonly what: string;
  readonly algorithm: KeyHashAlgorithm;
  readonly hash: Buffer;
  readonly hmacSecret?: Buffer;
}

const digest = (
  what: string,
  algorithm: KeyHashAlgorithm,
  hex: string,
  more: Partial<Vector> = {},
): Vector => ({
  what,
  algorithm,
  hash: Buffer.from(hex, "hex"),
  ...more,
});

const salted = (what: string, algorithm: KeyHashAlgorithm, text: string): Vector => ({
  what,
  algorithm,
  hash: Buffer.from(text),
});

export const VECTORS: readonly Vector[] = [
  digest(
    "SHA-256",
    KeyHashAlgorithm.SHA256,
    "6c6503cc4c366152c4ce1e0786c42352bf6c59547817afb4e1dc7259492e9eed",
  ),
  digest(
    "SHA-512",
    KeyHashAlgorithm.SHA512,
    "4541a3a9c1981565f8047754889b516cde8cafc07016e6a44c404a2977b9fc41" +
      "11bfabfa07713dc737b47c774df4a8279625e333625b8a6afb72847737f9fa6a",
  ),
  digest(
    "HMAC with SHA-256",
    KeyHashAlgorithm.HMAC_SHA256,
    "6d591bed0e43571e0aa0d6ee145c16c74adbd4f78db1b7bcd72554a41e5fe52f",
    { hmacSecret: HMAC_SECRET },
  ),
  digest(
    "HMAC with SHA-512",
    KeyHashAlgorithm.HMAC_SHA512,
    "b5fafa792a0c02915b492baf47b26543e365d59ec98ae5fad090be89227bac42" +
      "9eccf50ea18588b1d82459aef1e1852165a25c25124a10cee85f7e6b91936a3a",
    { hmacSecret: HMAC_SECRET },
  ),
  salted(
    "bcrypt 2a",
    KeyHashAlgorithm.BCRYPT,
    "$2a$05$abcdefghijklmnopqrstuu2H2T7sfhFPHS6GHfect/gpvxnDiH1ui",
  ),
  salted(
    "bcrypt 2b",
    KeyHashAlgorithm.BCRYPT,
    "$2b$10$abcdefghijklmnopqrstuuKLCS/NWxE3yvC3pTvv7XxjqgwGjVI/C",
  ),
  salted(
    "bcrypt 2y",
    KeyHashAlgorithm.BCRYPT,
    "$2y$05$abcdefghijklmnopqrstuu2H2T7sfhFPHS6GHfect/gpvxnDiH1ui",
  ),
  salted(
    "scrypt, 16 MiB",
    KeyHashAlgorithm.SCRYPT,
    "$scrypt$ln=14,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$9+sHrEAjzf7jsqUIc9KooxRGRBG3+G5ttTCq/2y0SeY",
  ),
  salted(
    "scrypt in three lanes",
    KeyHashAlgorithm.SCRYPT,
    "$scrypt$ln=4,r=1,p=3$AAECAwQFBgcICQoLDA0ODw$f1JPp6jP785GILloh6/m8NPMfMQBJj8USxdQoQhF5Kc",
  ),
  salted(
    "scrypt, 64 MiB",
    KeyHashAlgorithm.SCRYPT,
    "$scrypt$ln=16,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$7ubl16PTHNuB59mRy0gmAj0Kn5AV5opTr9xVcGKOYiQ",
  ),
  salted(
    "Argon2id in four lanes",
    KeyHashAlgorithm.ARGON2,
    "$argon2id$v=19$m=8192,t=2,p=4$MDEyMzQ1Njc4OWFiY2RlZg$u/Hk+CKeRyt2UWZEYXy7tUOuDAbu2mMImRzXTrW+hSM",
  ),
  salted(
    "Argon2i",
    KeyHashAlgorithm.ARGON2,
    "$argon2i$v=19$m=1024,t=3,p=1$MDEyMzQ1Njc4OWFiY2RlZg$qH6wGMXIPpc1iaOKoCNsBDWT22bUIbU8kcBU8QFYwnk",
  ),
  salted(
    "Argon2d",
    KeyHashAlgorithm.ARGON2,
    "$argon2d$v=19$m=1024,t=3,p=1$MDEyMzQ1Njc4OWFiY2RlZg$PcaqgWxwRrwhsNqln61mWCySyJ5ntrS4cAFOjBdORYg",
  ),
];
