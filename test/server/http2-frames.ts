// HTTP/2 by hand (RFC 9113 §4, §6).

export function frame(type: number, flags: number, stream: number, payload = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

export const frameType = { headers: 1, rst: 3, settings: 4, goaway: 7, windowUpdate: 8, continuation: 9 };
export const settings = frame(frameType.settings, 0, 0);
export const acknowledge = frame(frameType.settings, 1, 0);
/** GET http://a/ (RFC 7541: static table entries 2, 6 and 4; literal :authority). */
export const requestBlock = Buffer.from([0x82, 0x86, 0x84, 0x41, 1, 0x61]);
export const endOfStreamAndHeaders = 5;

export function framesOf(bytes: Buffer): { type: number; flags: number; stream: number; payload: Buffer }[] {
  const frames = [];
  for (let at = 0; at + 9 <= bytes.length; ) {
    const length = bytes.readUIntBE(at, 3);
    const payload = bytes.subarray(at + 9, at + 9 + length);
    frames.push({
      type: bytes.readUInt8(at + 3),
      flags: bytes.readUInt8(at + 4),
      stream: bytes.readUInt32BE(at + 5),
      payload,
    });
    at += 9 + length;
  }
  return frames;
}
