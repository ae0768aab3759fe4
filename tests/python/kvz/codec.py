"""A codec file and the blocks it decodes (docs/codecs.md)."""

import itertools

import gguf
import numpy as np

from . import range_coder, stages
from .reading import Bits, Bytes, expect
from .rope import Rope


def value_of(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def parse_stage(text):
    """Name and all parameters that a decoder reads."""
    name, _, inside = text.strip().partition("(")
    name = stages.ALIASES.get(name.strip(), name.strip())
    given = dict(pair.replace(" ", "").split("=") for pair in inside.rstrip(") ").split(",") if pair)
    read = stages.DEFAULTS.get(name, {})
    return name, {key: value_of(given[key]) if key in given else usual for key, usual in read.items()}


def parse(text):
    """Pipelines of keys and of values: lists of stages."""
    parts = {"k": text, "v": text}
    if ":" in text:
        parts = dict(part.strip().split(":") for part in text.split(";"))
        parts = {kind.strip(): part for kind, part in parts.items()}
    return {kind: [parse_stage(s) for s in part.split("|")] for kind, part in parts.items()}


def metadata(reader):
    """Everything below `kvsplice.` of a GGUF file."""
    return {key.removeprefix("kvsplice."): field.contents()
            for key, field in reader.fields.items() if key.startswith("kvsplice.")}


class Shape:
    """The layers that own a cache (docs/extract.md, "Metadata of the model")."""

    def __init__(self, about):
        get = lambda key: about["model." + key]
        self.heads, self.window = get("kv_heads"), get("window")
        self.dims = {"k": get("key_dim"), "v": get("value_dim")}
        ends = np.cumsum([0, *get("rope.pairs")])
        frequency = np.array(get("rope.frequency"), np.float64)
        firsts = about.get("model.rope.first", [0] * len(self.heads))
        self.ropes = [Rope(bool(halves), frequency[a:b], magnitude, int(first))
                      for halves, a, b, magnitude, first in
                      zip(get("rope.halves"), ends, ends[1:], get("rope.magnitude"), firsts)]

    def __len__(self):
        return len(self.heads)

    def head_dims(self, kind, layer):
        """Columns of the heads of a layer, or of all layers."""
        some = range(len(self)) if layer is None else [layer]
        return [self.dims[kind][l] for l in some for _ in range(self.heads[l])]

    def below(self, layer):
        """Layers below that are in every block this layer is in, nearest first."""
        if layer is None:
            return []
        return [l for l in range(layer - 1, -1, -1) if self.window[layer] > 0 or self.window[l] == 0]


class Codec:
    def __init__(self, text, shape, arrays, embedding=None, versions=None):
        """arrays: {name in the codec file: array}; embedding: tokens to rows, where `layers` reads them;
        versions: of the keys' stages, then of the values'; not needed where only one is known."""
        self.pipelines, self.shape, self.embedding = parse(text), shape, embedding
        stages = [params for kind in "kv" for _, params in self.pipelines[kind]]
        for params, version in zip(stages, versions if versions is not None else itertools.repeat(1)):
            params["version"] = version
        self.units = list(self.order())
        self.codes = {}  # of the last block's units, by their names: what the quantisers had made
        self.state = {}
        self.basis = None  # the embedding's directions
        for name, array in arrays.items():
            if name == "embedding.codes":
                self.basis = array.astype(np.float64) / 1024
                continue
            kind, layer, stage, array_name = name.split(".", 3)
            self.state.setdefault((kind, None if layer == "all" else int(layer), int(stage)),
                                  {})[array_name] = array
        self.unpack()

    @staticmethod
    def open(path, embedding=None):
        reader = gguf.GGUFReader(path)
        about = metadata(reader)
        expect("a codec of format 1", (about["kind"], about["codec.format"]) == ("codec", 1))
        return Codec(about["codec.pipeline"], Shape(about), {t.name: t.data for t in reader.tensors},
                     embedding, list(about["codec.stage_versions"]))

    def joined(self, kind):
        return any(name == "klt" and params["scope"] == "model" for name, params in self.pipelines[kind])

    def order(self):
        """Units in the order of their parts: (kind, layer), or no layer where all are joined."""
        there = lambda kind, layer: sum(self.shape.head_dims(kind, layer)) > 0
        yield from ((kind, None) for kind in "kv" if self.joined(kind) and there(kind, None))
        for layer in range(len(self.shape)):
            yield from ((kind, layer) for kind in "kv" if not self.joined(kind) and there(kind, layer))

    def stages_of(self, unit):
        """(name, parameters, state) of every stage of a unit."""
        return [(name, params, self.state.get((*unit, i), {}))
                for i, (name, params) in enumerate(self.pipelines[unit[0]])]

    def unpack(self):
        """Makes integers of the packed ones of all units."""
        packed, columns = [], []
        for name, _, state in itertools.chain(*map(self.stages_of, self.units)):
            if "codes" in state and name in ("layers", "klt"):
                packed.append(state)
                columns.append(len(state["scale"]) if name == "layers" else int(state["sizes"][1]))
        codes = range_coder.unpack([state["codes"] for state in packed], columns)
        for state, some in zip(packed, codes):
            state["codes"] = some

    @property
    def of_cells(self):
        return any(name == "exact" for name, _ in self.pipelines["k"])

    def decode(self, data, tokens, positions):
        """Keys and values of every layer as the cache holds them, before they are rounded to half precision;
        not numbers where a layer's window has passed these tokens."""
        made, out = self.rows(data, tokens, positions), []
        for layer, rope in enumerate(self.shape.ropes):
            both = []
            for kind in "kv":
                dims = self.shape.head_dims(kind, layer)
                rows = made[(kind, layer)]
                if rows is None:
                    rows = np.full((len(positions), sum(dims)), np.nan)
                elif kind == "k" and not self.of_cells:
                    rows = rope.turn(rows, dims[0], positions)
                both.append(rows)
            out.append(both)
        return out

    def rows(self, data, tokens, positions):
        """What the units' pipelines hand back, by (kind, layer)."""
        block, self.codes = Bytes(data), {}
        parts = [block.take(size) for size in block.varints(len(self.units))]
        expect("nothing behind the parts", block.left() == 0)
        lacking = any(len(part) == 0 for part in parts)
        left_out = [lacking and layer is not None and self.shape.window[layer] > 0 for _, layer in self.units]
        expect("parts are empty of layers with a window only",
               [len(part) == 0 for part in parts] == left_out)
        sides, left = zip(*(self.split(unit, part) for unit, part in zip(self.units, parts)))
        left = self.unpacked(sides, left, len(positions))
        reads = any(name == "layers" and params["embedding"] == "on"
                    for some in self.pipelines.values() for name, params in some)
        embedded = self.embedding(tokens) if reads else None
        directions = embedded @ self.basis.T if reads and self.basis is not None else None
        made = {(kind, layer): np.zeros((len(positions), 0))  # of layers without values
                for kind in "kv" for layer in range(len(self.shape))
                if sum(self.shape.head_dims(kind, layer)) == 0}
        for unit, side, rows in zip(self.units, sides, left):
            self.put(made, unit, None if side is None else self.decode_unit(
                unit, side, rows, made, positions, embedded, directions))
        return made

    def split(self, unit, part):
        """Side data of the stages, and what is packed."""
        if len(part) == 0:
            return None, None
        part = Bytes(part)
        sides = [part.take(part.varint()) for _ in self.pipelines[unit[0]]]
        return sides, part

    def unpacked(self, sides, left, count):
        """Values or codes behind the pipelines' last stages."""
        rows, coded = [None] * len(self.units), []
        for i, (unit, side, part) in enumerate(zip(self.units, sides, left)):
            if side is None:
                continue
            pipeline = self.stages_of(unit)
            if pipeline[-1][0] == "range":
                coded.append((i, range_coder.Model.of_state(pipeline[-1][2]), side[-1]))
                side.pop()
            else:
                rows[i] = unpack(part, count, self.width_behind(unit, pipeline),
                                 any(name in stages.QUANTISERS for name, _, _ in pipeline))
            expect("the part is used up", part.left() == 0)
        codes = range_coder.decode([model for _, model, _ in coded], [side for _, _, side in coded],
                                   [count] * len(coded))
        for (i, _, _), some in zip(coded, codes):
            rows[i] = some
        return rows

    def width_behind(self, unit, pipeline):
        width = sum(self.shape.head_dims(*unit))
        for name, params, state in pipeline:
            width = stages.width_behind(name, width, state, params)
        return width

    def decode_unit(self, unit, sides, rows, made, positions, embedded, directions):
        kind, layer = unit
        about = stages.Unit(kind, layer, self.shape.head_dims(kind, layer), self.shape, positions, made,
                            self.shape.below(layer), embedded, directions)
        for side, (name, params, state) in reversed(list(zip(sides, self.stages_of(unit)))):
            if name in stages.QUANTISERS:
                self.codes[unit] = rows
            rows = stages.decode(name, rows, side, state, params, about)
        expect("rows of the unit's width", rows.shape == (about.count, about.width))
        return rows

    def put(self, made, unit, rows):
        """Rows of joined layers are those of each, side by side."""
        kind, layer = unit
        if layer is not None:
            made[unit] = rows
            return
        widths = [sum(self.shape.head_dims(kind, l)) for l in range(len(self.shape))]
        for l, some in enumerate(np.split(rows, np.cumsum(widths)[:-1], 1)):
            made[(kind, l)] = some


def unpack(part, count, width, quantised):
    """What no entropy coder has coded."""
    if width == 0:
        return np.zeros((count, 0))
    if not quantised:
        halves = np.frombuffer(part.take(2 * count * width), "<f2").reshape(count, width)
        expect("finite values", np.isfinite(halves).all())
        return halves.astype(np.float64)
    bits = part.take(1)[0]
    widths = list(part.take(width)) if bits == 0 else [bits] * width
    stream = Bits(part.take((count * sum(widths) + 7) // 8))
    codes = np.array([[stream.signed(w) for w in widths] for _ in range(count)], np.int64)
    stream.end()
    return codes.reshape(count, width)
