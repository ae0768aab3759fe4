"""What every stage does to rows on their way back, from src/codec/*/*/spec.md. All in double precision:
what our own decoder makes in single precision may differ from it by its rounding only.

A stage is a function of rows (or codes), its side data, its state, its parameters and the unit.
"""

import math
from dataclasses import dataclass

import numpy as np

from .exact import decode_exact
from .reading import Bytes, expect

# What the parameters are that a decoder reads where the text does not give them: docs/codecs.md, "What a
# decoder reads of the text".
DEFAULTS = {
    "layers": {"history": 3, "embedding": "on", "directions": None},
    "dct": {"count": 64, "order": "energy", "type": "f16"},
    "fourier": {"count": 64, "band": None, "seed": 0, "type": "f16"},
    "siren": {"config": "medium", "hidden": None, "layers": None, "omega": None, "share": "head"},
    "flow": {"blocks": 3, "hidden": 128},
    "focus": {"keys": 0.2, "values": 0.4, "limit": 3.0},
    "klt": {"scope": "layer", "stored": "f32"},
    "svd": {"ratio": None, "rank": None},
    "exact": {"history": 1},
    "lloydmax": {"bits": 4},
    "rotmean": {"rest": "off"},
    "widths": {"grades": 1},
    "step": {"recall": 0, "recall_history": 1, "recall_width": 0.7, "recall_noise": 0.3},
    "uniform": {"bits": 4, "block": 32},
}


@dataclass
class Unit:
    """What a stage may know of the rows it works on."""
    kind: str           # k or v
    layer: int          # None: all layers joined
    dims: list          # of every head
    shape: object       # of the model
    positions: np.ndarray
    made: dict          # rows of units before, by (kind, layer)
    below: list         # layers below that may be read, nearest first
    embedded: np.ndarray = None
    directions: np.ndarray = None  # the same in the codec's embedding basis

    @property
    def width(self):
        return sum(self.dims)

    @property
    def count(self):
        return len(self.positions)

    def columns(self):
        """The heads' columns."""
        ends = np.cumsum([0, *self.dims])
        return [slice(a, b) for a, b in zip(ends, ends[1:])]

    def layers_below(self, depth):
        return [(kind, layer) for layer in self.below[:depth] for kind in "kv"]

    def read(self, depth):
        """Names of the units read, nearest first."""
        own = [("k", self.layer)] if self.kind == "v" and depth > 0 else []
        return own + self.layers_below(depth)


def rows_of(unit, names):
    return [unit.made[name] for name in names]


def layers(rows, side, state, params, unit):
    if not state:
        return rows
    read = rows_of(unit, unit.read(params["history"]))
    if params["embedding"] == "on":
        lowest = params["history"] > 0 and not unit.layers_below(params["history"])
        count = params["directions"]
        read.append(unit.embedded if count is None or lowest else unit.directions[:, :count])
    x = np.concatenate(read, 1)
    scale = state["scale"].astype(np.float64)
    codes = state["codes"].reshape(-1, len(scale))
    expect("one row of codes for each value read", len(codes) == x.shape[1])
    u = x.astype(np.float32) * state["input_scale"].astype(np.float32)
    if params["version"] > 3:
        peak = np.abs(u).max(1, keepdims=True)
        inverse = np.divide(np.float32(127), peak, out=np.zeros_like(peak), where=peak > 1e-36)
        u = np.rint(u * inverse).astype(np.float64) * (peak / 127)
    z = u.astype(np.float64) @ codes.astype(np.float64) * scale
    if "up" in state:
        z = z @ state["up"].reshape(-1, len(scale)).astype(np.float64).T
    return rows + state["bias"] + z


def focus(rows, side, state, params, unit):
    if not state:
        return rows
    x = np.concatenate(rows_of(unit, unit.read(1) if unit.kind == "k" else unit.read(1)[:1]), 1)
    bias = state["bias"].astype(np.float64)
    a = x @ state["weights"].reshape(len(bias), -1).astype(np.float64).T + bias
    strength, limit = params["keys" if unit.kind == "k" else "values"], params["limit"]
    factor = np.clip(np.exp(strength * a / 2), 1 / limit, limit)
    return rows / np.repeat(factor, unit.dims, axis=1)


def fisher_matrices(state):
    """A symmetric matrix a head."""
    matrices, at = [], 0
    for dim, scale in zip(state["sizes"].ravel().astype(int), state["scales"].ravel()):
        lower = np.zeros((dim, dim))
        lower[np.tril_indices(dim)] = state["codes"][at:at + dim * (dim + 1) // 2]
        at += dim * (dim + 1) // 2
        matrices.append(float(scale) * (lower + np.tril(lower, -1).T))
    return matrices


def fisher(rows, side, state, params, unit):
    if not state:
        return rows
    return np.concatenate([rows[:, columns] @ np.linalg.inv(matrix)
                           for matrix, columns in zip(fisher_matrices(state), unit.columns())], 1)


def klt_bases(state):
    """Bases of float numbers, or of packed integers."""
    if "codes" not in state:
        n = sum(name.startswith("basis.") for name in state)
        return [np.atleast_2d(state[f"basis.{i}"]).astype(np.float64) for i in range(n)]
    bases, at = [], 0
    for kept, wide in state["sizes"].astype(int).reshape(-1, 2):
        basis = state["codes"][at:at + kept * wide].reshape(kept, wide).astype(np.float64)
        at += kept * wide
        basis /= np.sqrt((basis ** 2).sum(1, keepdims=True))
        for _ in range(3):
            basis = basis - (basis @ basis.T - np.eye(kept)) @ basis / 2
        bases.append(basis)
    return bases


def klt(rows, side, state, params, unit):
    out, left = [], 0
    for basis in klt_bases(state):
        out.append(rows[:, left:left + len(basis)] @ basis)
        left += len(basis)
    return np.concatenate(out, 1) + state["mean"]


def groups(positions, most):
    """Where runs of positions begin and end, at most so many each."""
    first = 0
    for i in range(1, len(positions) + 1):
        if i == len(positions) or i - first == most or positions[i] != positions[i - 1] + 1:
            yield slice(first, i)
            first = i


def step(codes, side, state, params, unit):
    rows = codes * float(state["step"].ravel()[0])
    if "weights" not in state:
        return rows
    sources = rows_of(unit, unit.layers_below(params["recall_history"]))
    weights = state["weights"].ravel()
    expect("one weight a source", len(weights) == len(sources))
    for group in groups(unit.positions, params["recall"]):
        distance = np.zeros((group.stop - group.start,) * 2)
        for weight, source in zip(weights, sources):
            x = source[group].astype(np.float64)
            square = (x ** 2).sum(1)
            distance += weight * np.maximum(0, square[:, None] + square - 2 * x @ x.T)
        likeness = np.exp(-distance / (2 * params["recall_width"] ** 2))
        np.fill_diagonal(likeness, 1 + params["recall_noise"])
        factor = np.linalg.cholesky(likeness)
        rows[group] = factor / np.diag(factor) @ rows[group]
    return rows


def uniform(codes, side, state, params, unit):
    blocks = -(-codes.shape[1] // params["block"])
    scale = np.frombuffer(side.take(2 * blocks * len(codes)), "<f2").reshape(-1, blocks)
    return codes * np.repeat(scale, params["block"], 1)[:, :codes.shape[1]].astype(np.float64)


def lloydmax(codes, side, state, params, unit):
    levels = state["levels"].reshape(codes.shape[1], -1).astype(np.float64)
    return np.take_along_axis(levels.T, codes + 2 ** (params["bits"] - 1), 0)


def f16(codes, side, state, params, unit):
    return codes.astype(np.int16).view(np.float16).astype(np.float64)


def rotate(rows, side, state, params, unit):
    return unit.shape.ropes[unit.layer].turn(rows, unit.dims[0], unit.positions, back=True)


def widths(rows, side, state, params, unit):
    expect("number of rows", side.varint() == unit.count)
    widths = state["widths"].ravel().astype(int)
    codes = np.split(state["levels"].astype(np.float64), np.cumsum(2 ** widths)[:-1])
    scales = state["scales"].ravel().astype(np.float64)
    levels = [scale * code for scale, code in zip(scales, codes)]
    grades = int(params["grades"])
    columns = len(widths) // grades
    made = np.zeros((unit.count, columns))
    for first in range(0, unit.count, 64):
        n = min(64, unit.count - first)
        grade = side.take(1)[0] if grades > 1 else 0
        expect("a grade that is there", grade < grades)
        for c in range(columns):
            width = widths[grade * columns + c]
            index = np.zeros(n, int)
            for _ in range(width):
                bits = np.unpackbits(np.frombuffer(side.take((n + 7) // 8), np.uint8), bitorder="little")
                expect("no bits of rows that are not there", not bits[n:].any())
                index = 2 * index + bits[:n]
            made[first:first + n, c] = levels[grade * columns + c][index]
    return made


def rotmean(rows, side, state, params, unit):
    if params["rest"] == "on":
        return rows + state["mean"].astype(np.float64)
    expect("number of rows", side.varint() == unit.count)
    return np.tile(state["mean"].astype(np.float64), (unit.count, 1))


def floats(side, rows, cols, kind):
    kind, size = ("<f2", 2) if kind == "f16" else ("<f4", 4)
    return np.frombuffer(side.take(size * rows * cols), kind).reshape(rows, cols).astype(np.float64)


def dct(rows, side, state, params, unit):
    n = unit.count
    expect("number of rows", side.varint() == n)
    kept = min(params["count"], n)
    k = np.arange(kept)
    if params["order"] == "energy":
        k = np.cumsum([side.varint() + (i > 0) for i in range(kept)])
    weights = floats(side, kept, unit.width, params["type"])
    t = np.arange(n)[:, None]
    scale = np.where(k == 0, math.sqrt(1 / n), math.sqrt(2 / n))
    return scale * np.cos(np.pi * k * (2 * t + 1) / (2 * n)) @ weights


def fourier(rows, side, state, params, unit):
    n, count = unit.count, params["count"]
    expect("number of rows", side.varint() == n)
    weights = floats(side, 2 * count + 1, unit.width, params["type"])
    band = params["band"]
    if band is None:
        band = max(float(state["band"].ravel()[0]) * (n - 1), count)
    band = min(band, (n - 1) / 2)
    u = np.random.default_rng(params["seed"]).random(count)
    frequency = (band * (np.arange(count) + u) / count).astype(np.float32).astype(np.float64)
    angle = 2 * np.pi * np.arange(n)[:, None] * frequency / max(n - 1, 1)
    return np.concatenate([np.cos(angle), np.sin(angle), np.ones((n, 1))], 1) @ weights


SIREN = {"tiny": (64, 1, 30), "small": (128, 1, 30), "medium": (256, 2, 30), "large": (512, 2, 30),
         "deep": (256, 3, 30), "hifreq": (256, 2, 60), "lofreq": (256, 2, 15)}


def siren(rows, side, state, params, unit):
    hidden, depth, omega = (given if given is not None else preset for given, preset in zip(
        (params["hidden"], params["layers"], params["omega"]), SIREN[params["config"]]))
    expect("number of rows", side.varint() == unit.count)
    x = np.arange(unit.count)[:, None] / max(unit.count - 1, 1)
    out = []
    for outputs in unit.dims if params["share"] == "head" else [unit.width]:
        some = lambda rows, cols: floats(side, rows, cols, "f32")
        mean, deviation = some(1, outputs), some(1, outputs)
        a = x
        for inputs in [1] + depth * [hidden]:
            weights, bias = some(hidden, inputs), some(1, hidden)
            a = np.sin(omega * (a @ weights.T + bias))
        weights, bias = some(outputs, hidden), some(1, outputs)
        out.append((a @ weights.T + bias) * deviation + mean)
    return np.concatenate(out, 1)


def svd(rows, side, state, params, unit):
    n, out = unit.count, []
    for d in unit.dims:
        if params["rank"] is not None:
            rank = min(params["rank"], n, d)
        else:
            rank = min(max(1, math.floor(2 * n * d / (4 * params["ratio"] * (n + 1 + d)))), n, d)
        u, s, vt = (floats(side, *shape, "f32") for shape in ((n, rank), (1, rank), (rank, d)))
        out.append(u * s @ vt)
    return np.concatenate(out, 1)


def curve(rows, side, state, params, unit):
    points = state["points"].astype(np.float64)
    at = np.cumsum([0, *np.sqrt((np.diff(points, axis=0) ** 2).sum(1))])
    return np.stack([np.interp(rows[:, 0], at, column) for column in points.T], 1)


def hadamard(rows, side, state, params, unit):
    out = rows.copy()
    for columns in unit.columns():
        dim = columns.stop - columns.start
        p = dim & -dim
        matrix = np.ones((1, 1))
        while len(matrix) < p:
            matrix = np.block([[matrix, matrix], [matrix, -matrix]])
        for first in range(columns.start, columns.stop, p):
            out[:, first:first + p] = rows[:, first:first + p] @ matrix / math.sqrt(p)
    return out


def spline(rows, side, state, params, unit):
    knots = state["knots"].astype(np.float64)
    raw = state["parameters"].astype(np.float64)
    softplus = lambda v: np.logaddexp(0, v)
    dx, u = np.diff(knots, axis=0), softplus(raw[:len(knots) - 1]) + 1e-4
    total = dx.sum(0)
    mean = np.where(total > 0, (u * dx).sum(0) / np.where(total > 0, total, 1) + 1e-8,
                    (u + 1e-8).mean(0))
    scale, shift = softplus(raw[-2]) + 1e-3, raw[-1]
    y = np.concatenate([np.zeros((1, len(shift))), (u / mean * dx).cumsum(0)])
    z = scale * y + shift
    i = (z[1:-1, None] < rows).sum(0)
    at = lambda a: np.take_along_axis(a, i, 0)
    return at(knots) + (rows - at(z)) / (scale * at(u) / mean)


def gelu(u):
    return u * 0.5 * (1 + np.vectorize(math.erf)(u / math.sqrt(2)))


def flow(rows, side, state, params, unit):
    half, hidden = unit.width // 2, params["hidden"]
    parameters, at = state["parameters"].astype(np.float64), 0
    nets = []
    for _ in range(params["blocks"]):
        some = []
        for shape in ((half, 2 * hidden), (2 * hidden,), (hidden, hidden), (hidden, hidden), (2 * hidden,),
                      (hidden, half), (hidden, half), (half,), (half,)):
            some.append(parameters[at:at + math.prod(shape)].reshape(shape))
            at += math.prod(shape)
        nets.append(some)
    scale = float(state["scale"].ravel()[0])
    x = rows / scale
    order = state["permutations"].reshape(params["blocks"], -1).astype(int)
    for b in reversed(range(params["blocks"])):
        before = np.empty_like(x)
        before[:, order[b]] = x
        first, second = slice(0, half), slice(half, 2 * half)
        known, coupled = (first, second) if b % 2 == 0 else (second, first)
        w1, b1, ws, wt, b2, vs, vt, cs, ct = nets[b]
        a = gelu(before[:, known] @ w1 + b1)
        s = gelu(a[:, :hidden] @ ws + b2[:hidden]) @ vs + cs
        t = gelu(a[:, hidden:] @ wt + b2[hidden:]) @ vt + ct
        before[:, coupled] = (before[:, coupled] - t) * np.exp(-np.tanh(s))
        x = before
    return x * scale


def exact(codes, side, state, params, unit):
    names = unit.read(params["history"])
    return decode_exact(codes, side.rest(), state, unit, list(zip(names, rows_of(unit, names))))


# Stages all of whose rows are side data, of which a block of no rows has none.
OF_SIDE_DATA = {"dct", "fourier", "siren", "svd", "rotmean", "widths"}
STAGES = {f.__name__: f for f in (
    layers, focus, fisher, klt, step, uniform, lloydmax, widths, f16, rotate, rotmean, dct, fourier, siren, svd,
    curve, hadamard, spline, flow, exact)}
ALIASES = {"pca": "klt"}
QUANTISERS = {"step", "uniform", "lloydmax", "f16", "exact"}


def decode(name, rows, side, state, params, unit):
    data = Bytes(side)
    made = STAGES[name](rows, data, state, params, unit)
    expect(f"side data of {name} is used up", data.left() == 0)
    return made


def width_behind(name, width, state, params):
    """Columns a stage hands on."""
    if name == "rotmean" and params["rest"] == "on":
        return width
    if name in OF_SIDE_DATA or name == "range":
        return 0
    if name == "curve":
        return 1
    return sum(len(basis) for basis in klt_bases(state)) if name == "klt" else width
