/** Standard base64 without padding, as PHC strings have it. @returns undefined where it is not exactly that. */
export function readPhcBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, "base64");
  return bytes.toString("base64").replace(/=+$/, "") === text ? bytes : undefined;
}
