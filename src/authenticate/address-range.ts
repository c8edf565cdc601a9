import { BlockList, isIP, isIPv4 } from "node:net";

/** Whether it is one whole IPv4 or IPv6 address. One with a zone means something on one machine only. */
export function isAddress(text: string): boolean {
  return isIP(text) !== 0 && !text.includes("%");
}

/**
 * Whether an address is in one of the ranges. An IPv4 address and its IPv4-mapped form (RFC 4291
 * section 2.5.5.2) are the same.
 *
 * @param address for which isAddress() holds.
 * @param ranges in CIDR notation, IPv4 and IPv6.
 */
export function isWithin(address: string, ranges: readonly string[]): boolean {
  const list = new BlockList();
  for (const range of ranges) {
    const [network = "", length = ""] = range.split("/");
    list.addSubnet(network, Number(length), familyOf(network));
  }
  return list.check(address, familyOf(address));
}

/**
 * Whether each of the ranges lies wholly within one of the others. Ranges of different families never do.
 *
 * @param inner in CIDR notation, as is `outer`.
 */
export function areRangesWithin(inner: readonly string[], outer: readonly string[]): boolean {
  return inner.every((range) => {
    const [network = "", length = ""] = range.split("/");
    return outer.some((other) => {
      const [otherNetwork = "", otherLength = ""] = other.split("/");
      const sameFamily = familyOf(network) === familyOf(otherNetwork);
      return sameFamily && Number(length) >= Number(otherLength) && isWithin(network, [other]);
    });
  });
}

function familyOf(address: string): "ipv4" | "ipv6" {
  return isIPv4(address) ? "ipv4" : "ipv6";
}
