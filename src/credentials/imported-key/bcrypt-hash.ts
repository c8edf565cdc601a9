/** bcrypt looks no further. */
export const MOST_BCRYPT_BYTES = 72;

const MOST_COST = 14;
const LEAST_COST = 4;

/**
 * A version, a cost, 16 bytes of salt and 23 of hash in bcrypt's own base64. The last character of each has bits
 * to spare, which are zero.
 */
const FORM = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{30}[.CGKOSWaeimquy26]$/;

/** Whether it is a hash of bcrypt that takes no longer to check than is allowed. */
export function isBcryptHash(text: string, mostCost = MOST_COST): boolean {
  const cost = Number(FORM.exec(text)?.[1]);
  return cost >= LEAST_COST && cost <= mostCost;
}
