"""session.kvz (docs/format.md)."""

import struct

import numpy as np

from .reading import Bytes, Damaged, expect, xxh64


class Session:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        self.read_header()
        self.end = next(end for end in self.possible_ends() if self.read_index(end))

    def read_header(self):
        magic, _, oldest, length = struct.unpack_from("<8sHHI", self.data)
        expect("a session of format 1 or 2", magic == b"\x89KVZ\r\n\x1a\n" and oldest <= 2)
        self.format = oldest
        expect("a sound header", xxh64(self.data[:length - 8])
               == struct.unpack_from("<Q", self.data, length - 8)[0])
        self.header = length
        fields = Bytes(self.data[16:length - 8])
        self.codec, self.pipeline, self.model, self.model_name, self.architecture = (
            fields.string() for _ in range(5))
        self.block_tokens, self.sinks, self.window, layers = fields.varints(4)
        self.layers = [fields.varints(5) for _ in range(layers)]
        self.windows = [window for *_, window in self.layers]

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
        except Damaged:
            return False
        self.records, first = [], 0
        for _ in range(payload.varint()):
            kind, count, at, length = payload.varints(4)
            self.records.append((kind, at, length, first, count))
            first += count
        self.pending = payload.varints(payload.varint())
        self.tokens = first
        self.states = []
        if self.format >= 2 and payload.left() > 0:
            self.states = [payload.varints(4) for _ in range(payload.varint())]
        return payload.left() == 0

    def state(self, position):
        """Layers of the model, and (layer, "r" or "s", values as llama.cpp holds them) of what its recurrent layers
        hold behind so many tokens."""
        offset, length = next((at, n) for seen, at, n, _ in self.states if seen == position)
        payload = Bytes(self.payload(4, offset, length, position, 0))
        layers, count = payload.varints(2)
        rows = []
        for _ in range(count):
            layer, part, number_type, encoding, size = payload.varints(5)
            held = np.float32 if number_type == 0 else np.float16
            kept = np.float16 if encoding == 1 else held
            data = payload.take(size)
            values = eighths(data) if encoding == 2 else np.frombuffer(data, kept).astype(held)
            rows.append((layer, "rs"[part], values))
        expect("nothing behind the rows", payload.left() == 0)
        return layers, rows

    def payload(self, kind, offset, length, first, count):
        head = struct.pack("<IIIIQ", kind, first, count, 0, length)
        record = self.data[offset:offset + 32 + length]
        expect(f"a sound record at {offset}", record[:24] == head
               and xxh64(head + record[32:]) == struct.unpack("<Q", record[24:32])[0])
        return record[32:]

    def cells(self, codec=None):
        """Tokens, and per layer [tokens x width] of keys and values as a cache holds them, those of coded
        records before they are rounded to half precision. Rows that are not there are not numbers."""
        tokens, keys, values = [], [], []
        for kind, offset, length, first, count in self.records:
            payload = Bytes(self.payload(kind, offset, length, first, count))
            some = payload.varints(count)
            tokens += some
            if kind == 2:
                rows = [self.exact(payload, layer, count) for layer in self.layers]
            else:
                rows = codec.decode(payload.rest(), some, np.arange(first, first + count))
            keys.append([k for k, _ in rows])
            values.append([v for _, v in rows])
        join = lambda parts: [np.concatenate(layer) for layer in zip(*parts)]
        return tokens, join(keys), join(values)

    def exact(self, payload, layer, count):
        _, heads, key_dim, value_dim, _ = layer
        both = []
        for width in (heads * key_dim, heads * value_dim):
            if width == 0:  # attention takes values from the keys
                both.append(np.zeros((count, 0), np.float16))
                continue
            size = payload.varint()
            if size == 0:  # a layer with a window that has passed these tokens
                both.append(np.full((count, width), np.nan, np.float16))
                continue
            high = binary_decode(payload.take(size), count, width)
            low = np.frombuffer(payload.take(count * width), np.uint8).reshape(count, width)
            both.append((high.astype(np.uint16) << 8 | low).view(np.float16))
        return both


def eighths(data):
    """Blocks of a scale and 32 bytes, or fewer at the end."""
    parts = [np.float32(np.frombuffer(data, np.float16, 1, at)[0])
             * np.frombuffer(data[at + 2:at + 34], np.int8).astype(np.float32)
             for at in range(0, len(data), 34)]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


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
    expect("the coded bytes end with the cells", at == len(data))
    return out
