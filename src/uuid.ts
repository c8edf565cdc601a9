const FORM = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Whether it is written as an id is kept: a UUID of any version, in lower case (RFC 9562 section 4). */
export function isUuid(text: string): boolean {
  return FORM.test(text);
}
