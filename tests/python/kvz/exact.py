"""The stage `exact` (src/codec/quantise/exact/spec.md)."""

import numpy as np

from .reading import Bits, expect
from .rope import Rope

TABLE = np.rint(2 ** 14 * np.cos(2 * np.pi * np.arange(1025) / 1024)).astype(np.int64)


class Pairs:
    """The columns of a unit two by two: (first, second or None, which turn)."""

    def __init__(self, heads, dim, rope):
        frequency = rope.frequency
        n, rest = len(frequency), []
        self.turns = [0] + [int(np.floor(np.fmod(f * (2 ** 32 / (2 * np.pi)), 2 ** 32) + 0.5)) % 2 ** 32
                            for f in frequency]
        self.list = []
        for head in range(heads):
            for i in range(n):
                both = (i, i + n) if rope.halves else (2 * i, 2 * i + 1)
                begin = head * dim + rope.first
                self.list.append((begin + both[0], begin + both[1], i + 1))
            rest += range(head * dim, head * dim + rope.first)
            rest += range(head * dim + rope.first + 2 * n, (head + 1) * dim)
        self.list += [(a, b, 0) for a, b in zip(rest[::2], rest[1::2])]
        if len(rest) % 2:
            self.list.append((rest[-1], None, 0))

    def at(self, positions):
        """Cosine and sine of every turn at every position, in 2^-14."""
        angle = np.array(self.turns, np.int64)[:, None] * positions[None] % 2 ** 32

        def cosine(a):
            i, between = a >> 22, a >> 8 & 16383
            return TABLE[i] + ((TABLE[i + 1] - TABLE[i]) * between + 8192 >> 14)

        return cosine(angle), cosine((angle - 2 ** 30) % 2 ** 32)


def integers(cells, pair, exponent, cosine, sine):
    """Two columns of a pair as integers, [tokens x 2]."""
    whole = lambda c: (np.zeros(len(cells), np.int64) if c is None else np.clip(
        np.floor(cells[:, c].astype(np.float64) * 2.0 ** exponent + 0.5), -4095, 4095).astype(np.int64))
    a, b = whole(pair[0]), whole(pair[1])
    turned = a * cosine + b * sine + 8192 >> 14, b * cosine - a * sine + 8192 >> 14
    return np.clip(np.stack(turned, 1), -4095, 4095)


def cell_at(place, grid, bits):
    """The half precision cell of a bucket of the grid."""
    bucket, sign = (-1 - place, 0x8000) if place < 0 else (place, 0)
    if bucket == 0:
        field = grid + 14
        while field > 0 and bits.get(1) == 0:
            field -= 1
        return sign | field << 10 | bits.get(10)
    top = bucket.bit_length() - 1
    digits = bucket << 10 - top | bits.get(10 - top) if top < 10 else bucket >> top - 10
    expect("a cell of half precision", top + grid + 15 <= 30)
    return sign | top + grid + 15 << 10 | digits & 1023


def pairs_of(shape, kind, layer):
    return Pairs(shape.heads[layer], shape.dims[kind][layer], shape.ropes[layer] if kind == "k" else Rope())


def decode_exact(codes, data, state, unit, read):
    """Cells, keys as the cache holds them. read: (kind, layer) and cells of the history, nearest first."""
    exponents, grid, scale, bias = (state[k].ravel().astype(np.int64)
                                    for k in ("exponents", "grid", "scale", "bias"))
    own_pairs = pairs_of(unit.shape, unit.kind, unit.layer)
    bits, cells = Bits(data), np.zeros(codes.shape, np.float16)
    inputs = []
    for (kind, layer), rows in read:
        other = pairs_of(unit.shape, kind, layer)
        turns = other.at(unit.positions)
        for pair in other.list:
            inputs.append(integers(rows, pair, exponents[len(inputs)],
                                   *(table[pair[2]] for table in turns)))
    own = exponents[len(inputs):]
    weights = state["weights"].reshape(2 * len(own), -1).astype(np.int64)
    before = np.concatenate([*inputs, np.zeros((len(codes), 2 * len(own)), np.int64)], 1)
    cosines, sines = own_pairs.at(unit.positions)
    for first in range(0, len(codes), 16):
        tokens = slice(first, min(first + 16, len(codes)))
        for p, pair in enumerate(own_pairs.list):
            at = 2 * (len(inputs) + p)
            two = slice(2 * p, 2 * p + 2)
            sums = before[tokens, :at] @ weights[two, :at].T
            a, b = np.clip(bias[two] + (sums * scale[two] + 32768 >> 16), -2 ** 24, 2 ** 24).T
            c, s = cosines[pair[2], tokens], sines[pair[2], tokens]
            expected = a * c - b * s + 8192 >> 14, a * s + b * c + 8192 >> 14
            for t in range(tokens.start, tokens.stop):
                for i, column in enumerate(pair[:2]):
                    if column is None:
                        continue
                    shift = grid[2 * p + i] + own[p] + 4
                    place = int(codes[t, column] + (expected[i][t - first] >> shift))
                    half = cell_at(place, int(grid[2 * p + i]), bits)
                    cells[t, column] = np.uint16(half).view(np.float16)
            before[tokens, at:at + 2] = integers(cells[tokens], pair, own[p], c, s)
    bits.end()
    return cells
