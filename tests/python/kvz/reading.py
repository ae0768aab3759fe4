"""Bytes, bits and checksums, as docs/format.md and docs/codecs.md use them."""

import struct

MASK = (1 << 64) - 1
PRIMES = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63,
          0x27D4EB2F165667C5)


def rotate_left(x, n):
    return (x << n | x >> 64 - n) & MASK


def xxh64(data):
    """XXH64 with seed 0, https://xxhash.com, from its specification."""
    p1, p2, p3, p4, p5 = PRIMES

    def mix(acc, lane):
        return rotate_left(acc + lane * p2 & MASK, 31) * p1 & MASK

    at = 0
    if len(data) >= 32:
        lanes = [p1 + p2 & MASK, p2, 0, -p1 & MASK]
        while at + 32 <= len(data):
            words = struct.unpack_from("<4Q", data, at)
            lanes = [mix(lane, word) for lane, word in zip(lanes, words)]
            at += 32
        h = sum(rotate_left(lane, n) for lane, n in zip(lanes, (1, 7, 12, 18))) & MASK
        for lane in lanes:
            h = ((h ^ mix(0, lane)) * p1 + p4) & MASK
    else:
        h = p5
    h = h + len(data) & MASK
    while at + 8 <= len(data):
        h = rotate_left(h ^ mix(0, struct.unpack_from("<Q", data, at)[0]), 27) * p1 + p4 & MASK
        at += 8
    if at + 4 <= len(data):
        h = rotate_left(h ^ struct.unpack_from("<I", data, at)[0] * p1 & MASK, 23) * p2 + p3 & MASK
        at += 4
    for byte in data[at:]:
        h = rotate_left(h ^ byte * p5 & MASK, 11) * p1 & MASK
    for shift, prime in ((33, p2), (29, p3), (32, 1)):
        h = (h ^ h >> shift) * prime & MASK
    return h


class Damaged(ValueError):
    """Bytes that no writer has written."""


def expect(what, condition):
    if not condition:
        raise Damaged(what)


class Bytes:
    """Reads one thing after the other."""

    def __init__(self, data):
        self.data, self.at = bytes(data), 0

    def take(self, n):
        expect(f"{n} bytes at {self.at} of {len(self.data)}", self.at + n <= len(self.data))
        self.at += n
        return self.data[self.at - n:self.at]

    def left(self):
        return len(self.data) - self.at

    def rest(self):
        return self.take(self.left())

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def string(self):
        return self.take(self.varint()).decode()

    def varints(self, n):
        return [self.varint() for _ in range(n)]


class Bits:
    """Reads bits, the lowest of a byte first."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def get(self, n):
        expect("bits are missing", self.at + n <= 8 * len(self.data))
        first, end = self.at // 8, (self.at + n + 7) // 8
        value = int.from_bytes(self.data[first:end], "little") >> self.at % 8 & (1 << n) - 1
        self.at += n
        return value

    def signed(self, n):
        value = self.get(n)
        return value - (1 << n) if n and value >> n - 1 else value

    def end(self):
        """Zeros fill the last byte, and nothing is behind it."""
        left = 8 * len(self.data) - self.at
        expect("bits are left over", left < 8 and self.get(left) == 0)
