/** Behind it stands the IPv4 address in an IPv4-mapped one (RFC 4291 section 2.5.5.2). */
const MAPPED = [0, 0, 0, 0, 0, 0xffff];

/**
 * Where a login comes from, as it is counted: an IPv4 address, or the /64 of an IPv6 address, whose holder
 * chooses the rest (RFC 6177). The IPv4 address and its IPv4-mapped form are the same.
 *
 * @param peerAddress of the socket's other end. Empty where it is not known: then it is everybody's.
 */
export function loginSourceOf(peerAddress: string): string {
  const [address = ""] = peerAddress.split("%");
  if (!address.includes(":")) {
    return address;
  }
  // The URL standard has one way to write each address, without an IPv4 part.
  const groups = groupsOf(new URL(`http://[${address}]`).hostname.slice(1, -1));
  if (MAPPED.every((group, at) => groups[at] === group)) {
    return groups
      .slice(MAPPED.length)
      .flatMap((group) => [group >> 8, group & 0xff])
      .join(".");
  }
  const network = groups.slice(0, 4).map((group) => group.toString(16));
  return `${network.join(":")}::/64`;
}

/** The eight numbers of an IPv6 address. */
function groupsOf(address: string): number[] {
  const [head = [], tail = []] = address
    .split("::")
    .map((half) => (half === "" ? [] : half.split(":").map((group) => Number.parseInt(group, 16))));
  return [...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail];
}
