/** One password, hashed by others: Passlib 1.7, Django 5.2, Python's hashlib, argon2-cffi and bcrypt. */
export const VECTOR_PASSWORD = "correct horse battery staple";

export const VECTORS: readonly (readonly [what: string, hash: string])[] = [
  [
    "Passlib's PBKDF2 with SHA-256",
    "$pbkdf2-sha256$1000$t3ZO6Z3z3vs/x1jLeS9F6A$PqDadjIrrXZMOKcE1ErvroFb9YYYLpv8GUCEhSr.HiM",
  ],
  [
    "Passlib's PBKDF2 with SHA-512",
    "$pbkdf2-sha512$1000$jJHyPoew9n7vXauVstZa6w$L/.6CG1.jzx5DdCw7lKYWn90UdsimRltUtb3hYp49zvgL/kXYsq6bnKOBrOffkRqpR38katFETTSzlsJNzaD9g",
  ],
  ["Passlib's PBKDF2 with SHA-1", "$pbkdf2$1000$4HzvHYNQCiGE0DonZIzxvg$KzF3DBFpnLIUUkHTTYUmUDOi0ck"],
  [
    "Passlib's scrypt",
    "$scrypt$ln=10,r=8,p=1$6Z3zXqtVyjkHAKC0FmKsNQ$SPgPUI4hYSRRMDrQ+Er7y/7ThfCOjSb6MmQmZ3y41wk",
  ],
  [
    "Passlib's Argon2",
    "$argon2id$v=19$m=1024,t=1,p=2$nFPqnfNeq7V2rnXufW+NEQ$COQGJ8NQrYL5v0APOxKVz5jafkRhJgvZF7QsbEqrp/s",
  ],
  ["Passlib's bcrypt", "$2b$05$xKr7xBS4Dy20zmkL04lToOeKDA8t1jtat3ZXBKcjz5cwvpJNNTtim"],
  ["Passlib's bcrypt 2a", "$2a$05$PZ0SDFV6ySE4bqVizfoMKuFsF5I0Hmqn/ILssOuS5Puh3Oj.y5T1i"],
  [
    "Django's PBKDF2 with SHA-256",
    "pbkdf2_sha256$1000$yLIkR8vUTiPcXb0QkFEr3i$iupDFgTHOhRNb6rgaYOOxvDwqdAPad0tJ0qQrMBSgGA=",
  ],
  ["Django's PBKDF2 with SHA-1", "pbkdf2_sha1$1000$l2AidiXVzZ7cWsG9aIUHx2$cY0QjZtrxCm2PoPsCaUVgKPFbTo="],
  [
    "Django's Argon2",
    "argon2$argon2id$v=19$m=1024,t=1,p=2$S2hmT282aWVSeGtERWRqaGpQVWVJag$1tLeJ1cNQAfycLCHWTgd5Ncz/Jxnq5uP+b8q6AoRnww",
  ],
  ["Django's bcrypt", "bcrypt$$2b$05$7oosFznPa8/Y8MtFSoBT..rk5l1r0UmMUIpQglxxzZRo6WaP4bb8m"],
  [
    "Django's scrypt",
    "scrypt$1024$p8OonKqlqpS3I1fhNTszuC$8$5$HH6uUnT8YpzU6FZH6TJIOT3VFm1gSKJGlfUevhrAtPBCDZL0WBcUZOLrAEvOkWWJ1J/OHVsCZ3Iah0rE6q+ccg==",
  ],
  [
    "hashlib's PBKDF2 in the PHC form",
    "$pbkdf2-sha256$i=1000,l=32$AAECAwQFBgcICQoLDA0ODw$ppsXnjrdPB4KryJ6DrOqKqhkWrhv7PbKAMF1Eml8cZ4",
  ],
  [
    "hashlib's scrypt",
    "$scrypt$ln=10,r=8,p=2$AAECAwQFBgcICQoLDA0ODw$wk79EttC618m617oirShLZuxJkXcX6rXHrrS9rQQ/44/PyzWeE3KWbAQldWIiQYvKCevjNM19RG3gEA+HQIIyw",
  ],
  [
    "argon2-cffi's Argon2i",
    "$argon2i$v=19$m=1024,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$BMWBVAIipWXtmfQTcLIAX23sJ6i5v1x+jolyyiHtRCo",
  ],
  [
    "argon2-cffi's Argon2d",
    "$argon2d$v=19$m=1024,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$K1XmpzdtuCbCjKXzUTMqS+wj61wWWll0jro1ozKDLxk",
  ],
  ["PHP's bcrypt, by its name", "$2y$05$Df.3C45qk7TBsLiVkWzd7.pYaSEQ7fsFD53b72OjxF.d/vr4X1DIy"],
];
