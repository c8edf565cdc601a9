/**
 * A hash as Django writes it, in the form that everybody else reads: `pbkdf2_sha256$260000$salt$…` becomes
 * `$pbkdf2-sha256$i=260000$…$…`. Any other text stays as it is.
 */
export function withoutDjango(text: string): string {
  const [algorithm = "", ...parts] = text.split("$");
  const [one = "", two = "", three = "", four = "", five = ""] = parts;
  switch (algorithm) {
    case "pbkdf2_sha256":
    case "pbkdf2_sha1":
      return parts.length === 3
        ? `$${algorithm.replace("_", "-")}$i=${one}$${saltOf(two)}$${unpadded(three)}`
        : text;
    case "scrypt":
      return parts.length === 5
        ? `$scrypt$ln=${Math.log2(Number(one))},r=${three},p=${four}$${saltOf(two)}$${unpadded(five)}`
        : text;
    case "argon2":
      return `$${parts.join("$")}`;
    case "bcrypt":
      // Their own dollar sign comes on top: `bcrypt$$2b$…`.
      return parts.join("$");
    default:
      return text;
  }
}

/** Django's salt is a text, and what is hashed are its bytes. */
function saltOf(text: string): string {
  return unpadded(Buffer.from(text, "utf8").toString("base64"));
}

function unpadded(base64: string): string {
  return base64.replace(/={1,2}$/, "");
}
