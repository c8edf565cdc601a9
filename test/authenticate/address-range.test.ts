import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { areRangesWithin, isAddress, isWithin } from "../../src/authenticate/address-range.ts";

// The reference: an address is a number of 128 bits, an IPv4 address the one that its mapped form is
// (RFC 4291 section 2.5.5.2), and a range is all numbers that begin with the same bits.

const MAPPED = 0xffff_0000_0000n;

interface Address {
  readonly family: 4 | 6;
  readonly number: bigint;
}

interface Range {
  readonly network: Address;
  readonly length: number;
}

const bitsOf = ({ family }: Address) => (family === 4 ? 32 : 128);
const mask = (bits: number, length: number) => ((1n << BigInt(length)) - 1n) << BigInt(bits - length);
const in128 = ({ family, number }: Address) => (family === 4 ? MAPPED + number : number);

function isWithinPlainly(address: Address, ranges: readonly Range[]): boolean {
  return ranges.some(({ network, length }) => {
    const bits = mask(128, length + 128 - bitsOf(network));
    return (in128(address) & bits) === (in128(network) & bits);
  });
}

function write({ family, number }: Address): string {
  if (family === 4) {
    return [24n, 16n, 8n, 0n].map((shift) => (number >> shift) & 0xffn).join(".");
  }
  return Array.from({ length: 8 }, (_, at) =>
    ((number >> BigInt(112 - 16 * at)) & 0xffffn).toString(16),
  ).join(":");
}

/** The short form: the longest run of zeros left out (RFC 5952). */
function writeShort(address: Address): string {
  return address.family === 4 ? write(address) : new URL(`http://[${write(address)}]`).hostname.slice(1, -1);
}

function writeMapped({ number }: Address): string {
  return `::ffff:${write({ family: 4, number })}`;
}

const writeRange = ({ network, length }: Range) => `${writeShort(network)}/${length}`;

const ipv4 = fc
  .oneof(fc.bigInt(0n, (1n << 32n) - 1n), fc.constantFrom(0n, (1n << 32n) - 1n, 0x7f000001n, 0x0a000000n))
  .map((number): Address => ({ family: 4, number }));
const ipv6 = fc
  .oneof(
    fc.bigInt(0n, (1n << 128n) - 1n),
    fc.bigInt(0n, (1n << 32n) - 1n).map((low) => MAPPED + low),
    fc.bigInt(0n, (1n << 34n) - 1n),
    fc.constantFrom(0n, 1n, (1n << 128n) - 1n, MAPPED, MAPPED - 1n, MAPPED + (1n << 32n)),
  )
  .map((number): Address => ({ family: 6, number }));
const addresses = fc.oneof(ipv4, ipv6);

const rangeAround = (address: Address) =>
  fc.nat(bitsOf(address)).map(
    (length): Range => ({
      network: { ...address, number: address.number & mask(bitsOf(address), length) },
      length,
    }),
  );
const ranges = addresses.chain(rangeAround);

/** An address, and ranges of which some hold it, or its mapped form, or an address next to it. */
const cases = addresses.chain((address) => {
  const number = in128(address);
  const near = fc.constantFrom<Address>(
    address,
    { family: 6, number },
    { family: 6, number: number ^ 1n },
    { family: 6, number: number ^ (1n << 96n) },
    ...(number >> 32n === MAPPED >> 32n ? [{ family: 4, number: number & 0xffff_ffffn } as const] : []),
  );
  return fc.record({
    address: fc.constant(address),
    ranges: fc.array(fc.oneof(ranges, near.chain(rangeAround)), { maxLength: 4 }),
  });
});

test("an address is in the ranges that a plain reading of their bits says", () => {
  fc.assert(
    fc.property(cases, ({ address, ranges }) => {
      const expected = isWithinPlainly(address, ranges);
      assert.equal(isWithin(write(address), ranges.map(writeRange)), expected);
      assert.equal(isWithin(writeShort(address), ranges.map(writeRange)), expected);
    }),
    { numRuns: 5_000 },
  );
});

test("an IPv4 address and its IPv4-mapped form are the same, in the address and in the range", () => {
  fc.assert(
    fc.property(ipv4, fc.array(fc.oneof(ranges, ipv4.chain(rangeAround))), (address, ranges) => {
      const expected = isWithinPlainly(address, ranges);
      const mapped = ranges.map(({ network, length }) =>
        network.family === 4 ? `${writeMapped(network)}/${length + 96}` : writeRange({ network, length }),
      );
      assert.equal(isWithin(writeMapped(address), ranges.map(writeRange)), expected);
      assert.equal(isWithin(write(address), mapped), expected);
      assert.equal(isWithin(writeMapped(address), mapped), expected);
    }),
    { numRuns: 1_000 },
  );
});

test("the first and the last address of a range are in it, and their neighbours outside are not", () => {
  fc.assert(
    fc.property(ranges, ({ network, length }) => {
      const { family, number: first } = network;
      const last = first + (1n << BigInt(bitsOf(network) - length)) - 1n;
      const holds = (number: bigint) =>
        isWithin(write({ family, number }), [writeRange({ network, length })]);
      assert.ok(holds(first) && holds(last));
      // One past an IPv4 range at the end of IPv4 is no IPv4 address.
      assert.ok(first === 0n || !holds(first - 1n));
      assert.ok(last === (1n << BigInt(bitsOf(network))) - 1n || !holds(last + 1n));
    }),
    { numRuns: 1_000 },
  );
});

test("a range of one address holds that one only", () => {
  assert.ok(isWithin("203.0.113.7", ["203.0.113.7/32"]));
  assert.ok(!isWithin("203.0.113.6", ["203.0.113.7/32"]));
  assert.ok(isWithin("2001:DB8::7", ["2001:db8::7/128"]));
  assert.ok(!isWithin("2001:db8::8", ["2001:db8::7/128"]));
});

test("all of IPv4 is no IPv6 but the mapped form, and no range at all holds nothing", () => {
  assert.ok(isWithin("198.51.100.7", ["0.0.0.0/0"]));
  assert.ok(isWithin("::ffff:198.51.100.7", ["0.0.0.0/0"]));
  assert.ok(!isWithin("2001:db8::1", ["0.0.0.0/0"]));
  assert.ok(!isWithin("::198.51.100.7", ["0.0.0.0/0"]));
  assert.ok(!isWithin("198.51.100.7", []));
});

test("what is not one whole address is none, and is never guessed at", () => {
  const fixed = fc.constantFrom(
    "",
    "localhost",
    "203.0.113.7:443",
    "[2001:db8::1]",
    "203.0.113.7, 10.0.0.1",
    "203.0.113.0/24",
    "203.0.113.07",
    "0x7f.0.0.1",
    "2130706433",
    "127.1",
    " 127.0.0.1",
    "127.0.0.1\n",
    "fe80::1%eth0",
    "::ffff:127.0.0.1%1",
    "1::2::3",
    "::ffff:256.0.0.1",
  );
  fc.assert(
    fc.property(fc.oneof(fixed, fc.string()), (text) => {
      // What chance makes of it may be an address.
      fc.pre(!/^[0-9a-f:.]+$/i.test(text) || /^\d+$|^127\.1$|07$|256|::.*::|^0x/.test(text));
      assert.equal(isAddress(text), false);
    }),
    { numRuns: 1_000 },
  );
});

/** Ranges, and others of which some hold them. */
const nested = fc.array(ranges, { minLength: 1, maxLength: 3 }).chain((inner) =>
  fc.record({
    inner: fc.constant(inner),
    outer: fc.array(
      fc.oneof(
        ranges,
        fc.constantFrom(...inner).chain(({ network, length }) =>
          fc.nat(length).map((shorter) => ({
            network: { ...network, number: network.number & mask(bitsOf(network), shorter) },
            length: shorter,
          })),
        ),
      ),
      { maxLength: 4 },
    ),
  }),
);

test("ranges that are within others hold no address that those do not", () => {
  fc.assert(
    fc.property(nested, fc.bigInt(0n, (1n << 128n) - 1n), ({ inner, outer }, random) => {
      fc.pre(areRangesWithin(inner.map(writeRange), outer.map(writeRange)));
      for (const { network, length } of inner) {
        const rest = (1n << BigInt(bitsOf(network) - length)) - 1n;
        for (const offset of [0n, rest, random & rest]) {
          const address = { family: network.family, number: network.number | offset };
          assert.ok(isWithin(write(address), outer.map(writeRange)), write(address));
        }
      }
    }),
    { numRuns: 2_000 },
  );
});

test("a range is within another exactly where it begins with the same bits, and more of them", () => {
  fc.assert(
    fc.property(nested, ({ inner, outer }) => {
      const expected = inner.every(({ network, length }) =>
        outer.some((other) => {
          const sameFamily = network.family === other.network.family;
          return sameFamily && length >= other.length && isWithinPlainly(network, [other]);
        }),
      );
      assert.equal(areRangesWithin(inner.map(writeRange), outer.map(writeRange)), expected);
    }),
    { numRuns: 2_000 },
  );
});
