"""A second reader of session.kvz and of codecs made of klt, step and range, from their specifications
(docs/format.md, docs/codecs.md, src/codec/*/*/spec.md) alone."""

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
    """Codecs of one pipeline for keys and values: [klt |] step | range."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.state = {t.name: np.array(t.data, np.float32) for t in reader.tensors}
        field = lambda key: reader.fields["kvsplice." + key]
        array = lambda key: [field(key).parts[i][0].item() for i in field(key).data]
        text = bytes(field("codec.pipeline").parts[-1]).decode()
        self.stages = [part.split("(")[0].strip() for part in text.split("|")]
        self.heads, self.key_dims = array("model.kv_heads"), array("model.key_dim")
        self.halves, pairs = array("model.rope.halves"), array("model.rope.pairs")
        self.magnitude = array("model.rope.magnitude")
        ends = np.cumsum([0, *pairs])
        frequency = np.array(array("model.rope.frequency"))
        self.frequency = [frequency[a:b] for a, b in zip(ends, ends[1:])]

    def decode(self, data, positions):
        block, layers = Bytes(data), len(self.heads)
        sizes = block.varints(2 * layers)
        rows = []
        for layer in range(layers):
            keys, values = (self.unit(Bytes(block.take(sizes[2 * layer + i])), f"{kind}.{layer}",
                                      len(positions)) for i, kind in enumerate("kv"))
            rows.append((self.rotate(keys, layer, positions).astype(np.float16),
                         values.astype(np.float16)))
        return rows

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
