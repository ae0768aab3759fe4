"""A second reader of session.kvz and of codecs made of klt, step, exact and range, from their specifications
(docs/format.md, docs/codecs.md, src/codec/*/*/spec.md) alone."""

import re
import struct

import gguf
import numpy as np

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


class Bytes:
    """Reads one thing after the other."""

    def __init__(self, data):
        self.data, self.at = bytes(data), 0

    def take(self, n):
        if self.at + n > len(self.data):
            raise ValueError(f"truncated: {n} bytes at {self.at} of {len(self.data)}")
        self.at += n
        return self.data[self.at - n:self.at]

    def rest(self):
        return self.take(len(self.data) - self.at)

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


class Session:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        self.read_header()
        self.end = next(end for end in self.possible_ends() if self.read_index(end))

    def read_header(self):
        magic, _, oldest, length = struct.unpack_from("<8sHHI", self.data)
        if magic != b"\x89KVZ\r\n\x1a\n" or oldest > 1:
            raise ValueError("not a session of format 1")
        if xxh64(self.data[:length - 8]) != struct.unpack_from("<Q", self.data, length - 8)[0]:
            raise ValueError("the header is damaged")
        self.header = length
        fields = Bytes(self.data[16:length - 8])
        self.codec, self.pipeline, self.model, self.model_name, self.architecture = (
            fields.string() for _ in range(5))
        self.block_tokens, self.sinks, self.window, layers = fields.varints(4)
        self.layers = [fields.varints(5) for _ in range(layers)]

    def possible_ends(self):
        yield len(self.data)
        at = len(self.data)
        while (at := self.data.rfind(b"KVZend\r\n", 0, at + 7)) >= 0:
            yield at + 8

    def read_index(self, end):
        if end < self.header + 56:
            return False
        offset, stored_end, magic = struct.unpack_from("<QQ8s", self.data, end - 24)
        if magic != b"KVZend\r\n" or stored_end != end or not self.header <= offset <= end - 56:
            return False
        try:
            payload = Bytes(self.payload(3, offset, end - 56 - offset, 0, 0))
        except ValueError:
            return False
        self.records, first = [], 0
        for _ in range(payload.varint()):
            kind, count, at, length = payload.varints(4)
            self.records.append((kind, at, length, first, count))
            first += count
        self.pending = payload.varints(payload.varint())
        self.tokens = first
        return True

    def payload(self, kind, offset, length, first, count):
        head = struct.pack("<IIIIQ", kind, first, count, 0, length)
        record = self.data[offset:offset + 32 + length]
        if record[:24] != head or xxh64(head + record[32:]) != struct.unpack("<Q", record[24:32])[0]:
            raise ValueError(f"the record at {offset} is damaged")
        return record[32:]

    def cells(self, codec=None):
        """Tokens, and per layer [tokens x width] of keys and values as a cache holds them."""
        tokens, keys, values = [], [], []
        for kind, offset, length, first, count in self.records:
            payload = Bytes(self.payload(kind, offset, length, first, count))
            some = payload.varints(count)
            tokens += some
            if kind == 2:
                rows = [self.exact(payload, layer, count) for layer in self.layers]
            else:
                rows = codec.decode(payload.rest(), np.arange(first, first + count))
            keys.append([k for k, _ in rows])
            values.append([v for _, v in rows])
        join = lambda parts: [np.concatenate(layer) for layer in zip(*parts)]
        return tokens, join(keys), join(values)

    @staticmethod
    def exact(payload, layer, count):
        _, heads, key_dim, value_dim, _ = layer
        both = []
        for width in (heads * key_dim, heads * value_dim):
            size = payload.varint()
            if size == 0:  # a layer with a window that has passed these tokens
                both.append(np.zeros((count, width), np.float16))
                continue
            high = binary_decode(payload.take(size), count, width)
            low = np.frombuffer(payload.take(count * width), np.uint8).reshape(count, width)
            both.append((high.astype(np.uint16) << 8 | low).view(np.float16))
        return both


def binary_decode(data, rows, cols):
    trees = [[2048] * 256 for _ in range(cols)]
    code, at, span = int.from_bytes(data[:5], "big") & 0xFFFFFFFF, 5, 0xFFFFFFFF
    out = np.zeros((rows, cols), np.uint8)
    for r in range(rows):
        for c in range(cols):
            tree, node = trees[c], 1
            while node < 256:
                p = tree[node]
                bound = (span >> 12) * p
                if code < bound:
                    span, tree[node], node = bound, p + (4096 - p >> 4), 2 * node
                else:
                    code, span = code - bound, span - bound
                    tree[node], node = p - (p >> 4), 2 * node + 1
                while span < 1 << 24:
                    span, code, at = span << 8, code << 8 | data[at], at + 1
            out[r, c] = node & 255
    if at != len(data):
        raise ValueError("the coded bytes do not end with the cells")
    return out


class Codec:
    """Codecs of one pipeline for keys and values: [klt |] step | range, or exact | range."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.state = {t.name: np.array(t.data, np.float32) for t in reader.tensors}
        field = lambda key: reader.fields["kvsplice." + key]
        array = lambda key: [field(key).parts[i][0].item() for i in field(key).data]
        text = bytes(field("codec.pipeline").parts[-1]).decode()
        self.stages = [part.split("(")[0].strip() for part in text.split("|")]
        history = re.search(r"exact\(.*history=(\d+)", text)
        self.history = int(history.group(1)) if history else 1
        self.heads, self.key_dims = array("model.kv_heads"), array("model.key_dim")
        self.value_dims = array("model.value_dim")
        self.halves, pairs = array("model.rope.halves"), array("model.rope.pairs")
        self.magnitude = array("model.rope.magnitude")
        ends = np.cumsum([0, *pairs])
        frequency = np.array(array("model.rope.frequency"))
        self.frequency = [frequency[a:b] for a, b in zip(ends, ends[1:])]

    def decode(self, data, positions):
        block, layers = Bytes(data), len(self.heads)
        sizes = block.varints(2 * layers)
        if self.stages[0] == "exact":
            return self.decode_exact([Bytes(block.take(size)) for size in sizes], positions)
        rows = []
        for layer in range(layers):
            keys, values = (self.unit(Bytes(block.take(sizes[2 * layer + i])), f"{kind}.{layer}",
                                      len(positions)) for i, kind in enumerate("kv"))
            rows.append((self.rotate(keys, layer, positions).astype(np.float16),
                         values.astype(np.float16)))
        return rows

    def decode_exact(self, payloads, positions):
        """Keys and values as the cache holds them, layer by layer."""
        made, pairs = [], []
        for layer in range(len(self.heads)):
            dims = self.key_dims[layer], self.value_dims[layer]
            turning = self.halves[layer], self.frequency[layer]
            pairs.append((Pairs(self.heads[layer], dims[0], *turning),
                          Pairs(self.heads[layer], dims[1], False, np.zeros(0))))
            below = [(l, kind) for l in range(layer - 1, max(layer - 1 - self.history, -1), -1)
                     for kind in (0, 1)]
            made.append([])
            for kind in (0, 1):
                read = ([(layer, 0)] if kind and self.history else []) + below
                codes, bits, state = self.codes(payloads[2 * layer + kind], f"{'kv'[kind]}.{layer}",
                                                len(positions))
                made[layer].append(exact_cells(codes, bits, state, pairs[layer][kind], positions,
                                               [(pairs[l][k], made[l][k]) for l, k in read]))
        return made

    def codes(self, payload, name, count):
        bits, coded = (payload.take(payload.varint()) for _ in self.stages)
        state = lambda i: {k[len(f"{name}.{i}."):]: v for k, v in self.state.items()
                           if k.startswith(f"{name}.{i}.")}
        return decode_range(None, coded, state(1), count), bits, state(0)

    def unit(self, payload, name, count):
        sides = [payload.take(payload.varint()) for _ in self.stages]
        rows = None
        for i in reversed(range(len(self.stages))):
            state = {k[len(f"{name}.{i}."):]: v for k, v in self.state.items()
                     if k.startswith(f"{name}.{i}.")}
            rows = {"range": decode_range, "step": decode_step, "klt": decode_klt}[self.stages[i]](
                rows, sides[i], state, count)
        return rows

    def rotate(self, keys, layer, positions):
        out = keys.reshape(len(keys), self.heads[layer], self.key_dims[layer]).copy()
        n = len(self.frequency[layer])
        if n == 0:
            return keys
        angle = positions[:, None, None] * self.frequency[layer]
        cosine, sine = (self.magnitude[layer] * f(angle) for f in (np.cos, np.sin))
        halves = self.halves[layer]
        first, second = (slice(0, n), slice(n, 2 * n)) if halves else (slice(0, 2 * n, 2),
                                                                      slice(1, 2 * n, 2))
        a, b = out[..., first].copy(), out[..., second].copy()
        out[..., first], out[..., second] = a * cosine - b * sine, a * sine + b * cosine
        return out.reshape(keys.shape)


class Pairs:
    """The columns of a unit two by two: (first, second or None, which turn)."""

    def __init__(self, heads, dim, halves, frequency):
        n, rest = len(frequency), []
        self.turns = [0] + [int(np.floor(np.fmod(f * (2 ** 32 / (2 * np.pi)), 2 ** 32) + 0.5)) % 2 ** 32
                            for f in frequency.astype(np.float64)]
        self.list = []
        for head in range(heads):
            for i in range(n):
                both = (i, i + n) if halves else (2 * i, 2 * i + 1)
                self.list.append((head * dim + both[0], head * dim + both[1], i + 1))
            rest += range(head * dim + 2 * n, (head + 1) * dim)
        self.list += [(a, b, 0) for a, b in zip(rest[::2], rest[1::2])]
        if len(rest) % 2:
            self.list.append((rest[-1], None, 0))

    def at(self, positions):
        """Cosine and sine of every turn at every position, in 2^-14."""
        table = np.rint(2 ** 14 * np.cos(2 * np.pi * np.arange(1025) / 1024)).astype(np.int64)
        angle = np.array(self.turns, np.int64)[:, None] * positions[None] % 2 ** 32

        def cosine(a):
            i, between = a >> 22, a >> 8 & 16383
            return table[i] + ((table[i + 1] - table[i]) * between + 8192 >> 14)

        return cosine(angle), cosine((angle - 2 ** 30) % 2 ** 32)


def integers(cells, pair, exponent, cosine, sine):
    """Two columns of a pair as integers, [tokens x 2]."""
    whole = lambda c: (np.zeros(len(cells), np.int64) if c is None else np.clip(
        np.floor(cells[:, c].astype(np.float64) * 2.0 ** exponent + 0.5), -4095, 4095).astype(np.int64))
    a, b = whole(pair[0]), whole(pair[1])
    turned = a * cosine + b * sine + 8192 >> 14, b * cosine - a * sine + 8192 >> 14
    return np.clip(np.stack(turned, 1), -4095, 4095)


class Bits:
    def __init__(self, data):
        self.data, self.left, self.at = data, 8 * len(data), 0

    def get(self, n):
        if self.at + n > self.left:
            raise ValueError("damaged: bits are missing")
        first, end = self.at // 8, (self.at + n + 7) // 8
        value = int.from_bytes(self.data[first:end], "little") >> self.at % 8 & (1 << n) - 1
        self.at += n
        return value


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
    if top + grid + 15 > 30:
        raise ValueError("damaged: a cell beyond half precision")
    return sign | top + grid + 15 << 10 | digits & 1023


def exact_cells(codes, data, state, unit, positions, read):
    exponents, grid, scale, bias = (state[k].astype(np.int64)
                                    for k in ("exponents", "grid", "scale", "bias"))
    weights = state["weights"].astype(np.int64)
    bits, cells = Bits(data), np.zeros(codes.shape, np.float16)
    inputs = []
    for other, rows in read:
        turns = other.at(positions)
        for pair in other.list:
            inputs.append(integers(rows, pair, exponents[len(inputs)],
                                   *(table[pair[2]] for table in turns)))
    own = exponents[len(inputs):]
    before = np.concatenate([*inputs, np.zeros((len(codes), 2 * len(unit.list)), np.int64)], 1)
    cosines, sines = unit.at(positions)
    for first in range(0, len(codes), 16):
        tokens = slice(first, min(first + 16, len(codes)))
        for p, pair in enumerate(unit.list):
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
    if (bits.at + 7) // 8 != len(data) or bits.get(len(data) * 8 - bits.at):
        raise ValueError("damaged: the bits do not end with the cells")
    return cells


def decode_step(codes, _, state, __):
    return codes.astype(np.float32) * state["step"][0]


def decode_klt(rows, _, state, __):
    return rows @ state["basis.0"] + state["mean"]


def log16(v):
    e = v.bit_length() - 1
    return 16 * e + (v * 16 >> e) - 16


def around(values, g):
    return values[max(g - 1, 0)] + 2 * values[g] + values[min(g + 1, len(values) - 1)] >> 2


def frequencies(costs):
    powers = (16384, 15024, 13777, 12634, 11585, 10624, 9742, 8933)
    f = [max(1, powers[c % 8] >> c // 8) for c in costs]
    f[f.index(max(f))] += 16384 - sum(f)
    return f


def decode_range(_, side, state, count):
    centre, mean, costs = (state[k].astype(int).tolist() for k in ("centre", "mean", "costs"))
    near_weight, past_weight = state["weights"].astype(int).tolist()
    codes = np.tile(np.array(centre), (count, 1))
    if not side:
        return codes
    tables = [frequencies(row) for row in costs]
    side = Bytes(side)
    x = list(struct.unpack("<8I", side.take(32)))
    words = iter(np.frombuffer(side.take(2 * side.varint()), np.uint16).tolist())
    past = [16 * m for m in mean]
    for r in range(count):
        sums = []
        for g in range(len(mean)):
            near = range(max(g - 4, 0), g)
            level = (16 * log16(mean[g])
                     + near_weight * (log16(64 * sum(sums[j] for j in near) + 24)
                                      - log16(sum(mean[j] for j in near) + 24))
                     + past_weight * (log16(around(past, g) + 64)
                                      - log16(around([16 * m for m in mean], g) + 64)))
            k = min(71, max(0, level >> 6))
            low_bits = 0 if k < 38 else (k - 38) // 4 + 1
            columns = range(8 * g, min(8 * g + 8, len(centre)))
            symbols, made = [], []
            for i, _ in enumerate(columns):
                slot, symbol, start = x[i] & 16383, 0, 0
                while slot >= start + tables[k][symbol]:
                    start += tables[k][symbol]
                    symbol += 1
                x[i] = tables[k][symbol] * (x[i] >> 14) + slot - start
                if x[i] < 65536:
                    x[i] = x[i] << 16 | next(words)
                symbols.append(symbol)
                made.append(symbol // 2 if symbol % 2 == 0 else -(symbol + 1) // 2)
            for i, _ in enumerate(columns):
                if low_bits == 0:
                    break
                made[i] = (made[i] << low_bits) + (x[i] & (1 << low_bits) - 1)
                x[i] >>= low_bits
                if x[i] < 65536:
                    x[i] = x[i] << 16 | next(words)
            for i, symbol in enumerate(symbols):
                if symbol == 15:
                    folded = side.varint()
                    made[i] = folded >> 1 if folded % 2 == 0 else -(folded + 1 >> 1)
            sums.append(sum(min(abs(m), 1 << 14) for m in made))
            codes[r, columns.start:columns.stop] += made
        for g in range(len(mean)):
            past[g] += 1024 * sums[g] - past[g] >> 4
    if x != [65536] * 8 or next(words, None) is not None or side.rest():
        raise ValueError("damaged: the coder does not end where encoding began")
    return codes
