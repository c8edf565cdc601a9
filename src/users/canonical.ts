/** The form in which names and email addresses are compared: NFKC, lower case. */
export function canonical(text: string): string {
  return text.normalize("NFKC").toLowerCase();
}
