"""The coder of small integers (src/codec/entropy/range/spec.md) and what it packs in codec files
(docs/codecs.md, "Packed integers").

Streams are decoded side by side, a group of eight columns of each at a time, since NumPy is fast for many
numbers at once only.
"""

from dataclasses import dataclass

import numpy as np

from .reading import Bytes, expect

CLASSES, SYMBOLS, ESCAPE, LANES = 72, 16, 15, 8
LOW_BITS = np.array([0 if k < 38 else (k - 38) // 4 + 1 for k in range(CLASSES)])
POWERS = np.array([16384, 15024, 13777, 12634, 11585, 10624, 9742, 8933])
SURE = [0] + [112] * (SYMBOLS - 1)  # costs of a class that no code has: any will do


@dataclass
class Model:
    centre: np.ndarray  # per column
    mean: np.ndarray    # per group of eight columns
    near: int
    past: int
    costs: np.ndarray   # [72 x 16]

    @property
    def groups(self):
        return len(self.mean)

    @staticmethod
    def of_state(state):
        whole = {name: array.astype(np.int64) for name, array in state.items()}
        return Model(whole["centre"].ravel(), whole["mean"].ravel(), *whole["weights"].ravel(),
                     whole["costs"].reshape(CLASSES, SYMBOLS))


def log16(v):
    e = np.frexp(v.astype(np.float64))[1] - 1
    return 16 * e + (v * 16 >> e) - 16


def around(a, last):
    """Rows of `a` have groups 0 ... last, each its own last one."""
    g = np.arange(a.shape[1])
    right = np.take_along_axis(a, np.minimum(g + 1, last[:, None]), 1)
    return a[:, np.maximum(g - 1, 0)] + 2 * a + right >> 2


def starts(costs):
    """First slots of the symbols of every class, [... x 72 x 17]."""
    frequency = np.maximum(1, POWERS[costs % 8] >> costs // 8)
    most = frequency.argmax(-1)[..., None]
    left = 2 ** 14 - frequency.sum(-1, keepdims=True)
    np.put_along_axis(frequency, most, np.take_along_axis(frequency, most, -1) + left, -1)
    expect("probabilities sum to more than 1", (frequency > 0).all())
    return np.concatenate([np.zeros_like(most), frequency.cumsum(-1)], -1)


class SideBySide:
    """What the streams are at: one row for each of them in every array."""

    def __init__(self, models, blocks, counts):
        self.groups = np.array([m.groups for m in models])
        self.columns = np.array([len(m.centre) for m in models])
        self.rows = np.array(counts)
        self.near, self.past_weight = (np.array([getattr(m, w) for m in models])[:, None]
                                       for w in ("near", "past"))
        self.start = starts(np.array([m.costs for m in models]))
        widest = self.groups.max()
        mean = np.array([np.pad(m.mean, (0, widest - m.groups), constant_values=1) for m in models])
        total = np.pad(mean.cumsum(1), ((0, 0), (1, 0)))
        g = np.arange(widest)
        self.past = 16 * mean
        self.fixed = (16 * log16(mean)
                      - self.near * log16(total[:, g] - total[:, np.maximum(g - 4, 0)] + 24)
                      - self.past_weight * log16(around(self.past, self.groups - 1) + 64))
        self.read(blocks)
        # Sums of a row up to each group, and what its classes owe to the rows before.
        self.sums = np.zeros((len(models), widest + 1), np.int64)
        self.base = np.zeros_like(mean)
        ends = np.cumsum([0, *(self.rows * self.groups * LANES)])
        self.codes, self.first = np.zeros(ends[-1], np.int32), ends[:-1]

    def read(self, blocks):
        self.x = np.array([np.frombuffer(b.take(32), "<u4") for b in blocks]).astype(np.int64)
        words = [np.frombuffer(b.take(2 * b.varint()), "<u2") for b in blocks]
        ends = np.cumsum([0] + [len(w) for w in words])
        self.words = np.concatenate([*words, np.zeros(2 * LANES, "<u2")]).astype(np.int64)
        self.next, self.end = ends[:-1].copy(), ends[1:]
        self.escapes = blocks

    def begin_rows(self, s):
        last = self.groups[s] - 1
        self.base[s] = self.fixed[s] + self.past_weight[s] * log16(around(self.past[s], last) + 64)

    def end_rows(self, s):
        sums = np.diff(self.sums[s], axis=1)
        self.past[s] += 1024 * sums - self.past[s] >> 4

    def refill(self, s, x):
        empty = x < 2 ** 16
        at = self.next[s][:, None] + empty.cumsum(1) - 1
        expect("words are missing", (at.max(1) < self.end[s] + LANES).all())
        self.next[s] += empty.sum(1)
        return np.where(empty, x << 16 | self.words[np.minimum(at, len(self.words) - 1)], x)

    def group(self, s, row, g):
        """Decodes group g of streams s, each in its row."""
        near = self.sums[s, g] - self.sums[s, np.maximum(g - 4, 0)]
        level = self.base[s, g] + self.near[s, 0] * log16(64 * near + 24)
        k = np.clip(level >> 6, 0, CLASSES - 1)
        there = np.arange(LANES) < (self.columns[s] - LANES * g)[:, None]
        x, start = self.x[s], self.start[s, k]
        slot = x % 2 ** 14
        symbol = (slot[:, :, None] >= start[:, None, 1:SYMBOLS]).sum(2)
        first, end = (np.take_along_axis(start, symbol + i, 1) for i in (0, 1))
        x = self.refill(s, np.where(there, (end - first) * (x >> 14) + slot - first, x))
        code = np.where(symbol % 2 == 1, -(symbol + 1 >> 1), symbol >> 1)
        low = LOW_BITS[k][:, None]
        if low.any():
            code = (code << low) + x % (1 << low)
            x = self.refill(s, np.where(there, x >> low, x))
        code = np.where(there, code, 0)
        for i, lane in np.argwhere(there & (symbol == ESCAPE)):
            folded = self.escapes[s[i]].varint()
            code[i, lane] = folded >> 1 if folded % 2 == 0 else -(folded + 1 >> 1)
        self.x[s] = x
        self.sums[s, g + 1] = self.sums[s, g] + np.minimum(abs(code), 2 ** 14).sum(1)
        at = self.first[s] + LANES * (self.groups[s] * row + g)
        self.codes[at[:, None] + np.arange(LANES)] = code

    def run(self):
        row, g = np.zeros_like(self.rows), np.zeros_like(self.rows)
        while (s := np.flatnonzero(row < self.rows)).size:
            first = s[g[s] == 0]
            if first.size:
                self.begin_rows(first)
            self.group(s, row[s], g[s])
            g[s] += 1
            last = s[g[s] == self.groups[s]]
            if last.size:
                self.end_rows(last)
                g[last], row[last] = 0, row[last] + 1
        expect("the coder does not end where encoding began", (self.x == 2 ** 16).all()
               and (self.next == self.end).all() and not any(b.left() for b in self.escapes))
        return [some.reshape(n, -1) for some, n in zip(np.split(self.codes, self.first[1:]), self.rows)]


def decode(models, sides, counts):
    """Codes of streams, [count x columns] each. An empty one has every code at its centre."""
    codes = [np.tile(m.centre.astype(np.int32), (n, 1)) for m, n in zip(models, counts)]
    coded = [i for i, side in enumerate(sides) if len(side) > 0]
    if coded:
        made = SideBySide([models[i] for i in coded], [Bytes(sides[i]) for i in coded],
                          [counts[i] for i in coded]).run()
        for i, some in zip(coded, made):
            codes[i] += some[:, :codes[i].shape[1]]
    return codes


def unpack(arrays, columns):
    """Packed integers of arrays of bytes, each [rows x its columns]."""
    models, sides, counts, sizes = [], [], [], []
    for array, width in zip(arrays, columns):
        data = Bytes(array.astype(np.int8).tobytes())
        sizes.append(data.varint())
        counts.append(-(-sizes[-1] // width))
        costs = np.array([SURE] * CLASSES)
        near = past = 0
        mean = np.ones(-(-width // LANES), np.int64)
        if sizes[-1] > 0:
            near, past, first, last = data.take(4)
            for k in range(first, last + 1):
                costs[k] = list(data.take(SYMBOLS))
            mean = np.array(data.varints(len(mean)))
        models.append(Model(np.zeros(width, np.int64), mean, near, past, costs))
        sides.append(data.rest())
    codes = decode(models, sides, counts)
    for some, size in zip(codes, sizes):
        expect("the last row is filled with zeros", not some.ravel()[size:].any())
    return [some.ravel()[:size] for some, size in zip(codes, sizes)]
