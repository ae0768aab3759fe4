"""The states llama.cpp saves, as bytes and as arrays.

Four forms share one body (src/host/state_blob.h):
    session file    llama_state_save_file:      'ggsn', version, tokens, architecture, caches
    sequence file   llama_state_seq_save_file:  'ggsq', version, tokens, caches
    sequence data   llama_state_seq_get_data:   magic, sequence, caches
    context data    llama_state_get_data:       architecture, caches
Models with sliding windows have two caches, full layers first. A cache has one stream of cells, or
one for each sequence its context can hold. Behind the caches hybrids have what their recurrent
layers hold.
"""

import dataclasses
import struct
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import q8_0
from .codec import Layer, Rows, integers
from .errors import Error, Status
from .recurrent import RecurrentState, flat

Form = Literal["session file", "sequence file", "sequence data", "context data"]

SESSION_MAGIC, SEQUENCE_MAGIC, DATA_MAGIC = 0x6767736E, 0x67677371, 0xAF143CD8
VERSIONS = {10: 3, 11: 4}  # of session files: that of sequence files
TYPES: dict[int, np.dtype[Any]] = {0: np.dtype(np.float32), 1: np.dtype(np.float16)}  # by ggml
Sides = tuple[int | None, int | None]  # of the matrices that turn q8_0 keys and values, if known
MOST_LAYERS, MOST_STREAMS, MOST_NAME = 4096, 256, 64
CELL_BYTES = 12


@dataclasses.dataclass
class State:
    """The cache of one sequence, whose positions are 0, 1, ..., in cached space."""

    keys: Rows
    """[n, KV heads * key dim] for each layer, float16 or float32."""
    values: Rows
    """[n, KV heads * value dim], the same."""
    absent: int = 0
    """So many first tokens have no rows (but zeros) in layers with a window."""
    tokens: npt.NDArray[np.int32] | None = None
    """Of files only: those that have rows, and then any that are pending."""
    form: Form = "sequence data"
    architecture: str = ""
    version: int = 10
    """Of session files; a sequence file's follows from it. Data does not say it."""
    streams: int = 1
    values_transposed: bool = False
    """Whether the bytes have values as [KV heads * value dim, n], as without flash attention."""
    quantised: tuple[bool, bool] = (False, False)
    """Whether the bytes have keys, and values, as q8_0."""
    rotation: bool = True
    """Whether the bytes have the heads of what is q8_0 turned, as llama.cpp does unless
    LLAMA_ATTN_ROT_DISABLE is set. The arrays never have."""
    recurrent: RecurrentState | None = None
    """Of hybrids: what their recurrent layers hold behind all tokens."""

    def __len__(self) -> int:
        return len(self.keys[0]) if self.keys else 0


@dataclasses.dataclass
class _Cache:
    positions: npt.NDArray[np.int32]
    keys: Rows
    values: Rows
    sides: Sides


class _Bytes:
    """Reads one thing after the other; what is not there is an error."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def skip(self, n: int) -> int:
        if n > self.left:
            raise Error(f"truncated: {n} bytes at {self.at} of {len(self.data)}", Status.FORMAT)
        self.at += n
        return self.at - n

    def number(self, kind: str = "I") -> int:
        at = self.skip(struct.calcsize(kind))
        return int(struct.unpack_from("<" + kind, self.data, at)[0])

    def array(self, dtype: npt.DTypeLike, n: int) -> npt.NDArray[Any]:
        at = self.skip(n * np.dtype(dtype).itemsize)
        return np.frombuffer(self.data, dtype, n, at)


def unpack_state(data: bytes, layers: Sequence[Layer] | None = None, version: int = 10, *,
                 rotation: bool = True,
                 recurrent: Sequence[int] | None = None) -> State:
    """The arrays of a state of any form, of caches of type f16, f32 or q8_0. They lie in `data`
    where its cells are in order, but those of q8_0 caches, which become float16.

    layers: the model's, as Codec.layers has them. Without them models with windows are refused, and
    nothing is compared. What follows the caches must be the recurrent part of a hybrid model.
    version: of the llama.cpp that made data without a version: 10, or 11 since it writes how heads
    are turned. rotation: whether q8_0 caches of version 10 have their heads turned; turning them
    back takes `layers`. recurrent: the numbers of a hybrid's recurrent layers in the model, as
    Codec.recurrent_layers has them; without them they count from 0.
    """
    source = _Bytes(data)
    state = _read_head(source, version)
    state.rotation = rotation
    caches = [_read_cache(source, state, _usual_sides(state, layers, False))]
    windowed = layers is not None and any(layer.window > 0 for layer in layers)
    if windowed:
        caches.append(_read_cache(source, state, _usual_sides(state, layers, True)))
    if source.left > 0:
        state.recurrent = _read_recurrent(source, layers)
    if recurrent:
        _number_layers(state, recurrent)
    if any(state.quantised):
        state.rotation = any(side for cache in caches for side in cache.sides)
    in_order = _in_order(state, caches, layers)
    if state.recurrent is not None and state.recurrent.position != len(state):
        raise Error(f"a state of {len(state)} cells, its recurrent layers have seen "
                    f"{state.recurrent.position} tokens", Status.FORMAT)
    return in_order


def pack_state(state: State, layers: Sequence[Layer] | None = None) -> bytes:
    """The bytes, which llama.cpp loads into a cache of their own kind.

    layers: as for unpack_state. Only what it sees of it is kept of layers with a window. Rows that
    were q8_0 and become it again get the codes they had, and scales but for a rounding of float16.
    """
    parts: list[bytes] = _head(state)
    for windowed in (False, True):
        chosen = [i for i in range(len(state.keys))
                  if (layers is not None and layers[i].window > 0) == windowed]
        if windowed and not chosen:
            continue
        first = 0
        if windowed and layers is not None:
            longest = max(layers[i].window for i in chosen)
            first = max(state.absent, len(state) - longest)
        parts += _cache(state, chosen, first, _usual_sides(state, layers, windowed))
    if state.recurrent is not None:
        parts += _recurrent(state.recurrent, state.form in ("session file", "context data"))
    return b"".join(parts)


def _read_head(source: _Bytes, version: int) -> State:
    state = State([], [], version=version)
    start = source.number()
    if start == DATA_MAGIC:
        source.number("i")  # the sequence's number where it was saved
    elif start == SEQUENCE_MAGIC:
        state.form = "sequence file"
        by_sequence = {sequence: session for session, sequence in VERSIONS.items()}
        state.version = by_sequence[_legal(source.number(), by_sequence)]
        state.tokens = _read_tokens(source)
    elif start == SESSION_MAGIC:
        state.form = "session file"
        state.version = _legal(source.number(), VERSIONS)
        state.tokens = _read_tokens(source)
        state.architecture = _read_name(source, source.number())
    else:
        state.form = "context data"
        state.architecture = _read_name(source, start)
    _legal(state.version, VERSIONS)
    return state


def _legal(version: int, known: dict[int, int]) -> int:
    if version not in known:
        raise Error(f"a state of version {version}; legal: {sorted(known)}", Status.UNSUPPORTED)
    return version


def _read_name(source: _Bytes, length: int) -> str:
    if not 0 < length <= MOST_NAME:
        raise Error(f"{length:#010x} is not the start of a llama.cpp state", Status.FORMAT)
    name = source.array(np.uint8, length).tobytes()
    if not name.isascii() or not name.decode("ascii").isprintable():
        raise Error("these bytes are no state of llama.cpp's", Status.FORMAT)
    return name.decode("ascii")


def _read_tokens(source: _Bytes) -> npt.NDArray[np.int32]:
    """A plain list, or llama-server's record: -1, format 1, tokens, tokens ..., media."""
    words: npt.NDArray[np.int32] = source.array("<i4", source.number())
    if len(words) == 0 or words[0] != -1:
        return words
    if len(words) < 4 or words[1] != 1 or not 0 <= words[2] <= len(words) - 4:
        raise Error("the tokens are a record that is not known", Status.UNSUPPORTED)
    count = int(words[2])
    if words[3 + count] != 0:
        raise Error(f"the tokens name {words[3 + count]} media; text alone is handled",
                    Status.UNSUPPORTED)
    return words[3:3 + count]


def _usual_sides(state: State, layers: Sequence[Layer] | None, windowed: bool) -> Sides:
    """What llama.cpp turns q8_0 heads by in the cache of layers without a window, or with one."""
    if not state.rotation:
        return 0, 0
    if not layers:
        return None, None
    held = [of for of in layers if (of.window > 0) == windowed]
    keys = _usual_side({of.key_dim for of in held}, layers[0].key_dim)
    values = _usual_side({of.value_dim for of in held}, layers[0].value_dim)
    return keys, min(values, 64)


def _usual_side(dims: set[int], first: int) -> int:
    """One matrix turns all layers of a cache: the largest power of two that divides a head, if 64
    does. llama.cpp looks at the first layer of the model, too."""
    dim = dims.pop() if len(dims) == 1 else 0
    return dim & -dim if dim % 64 == 0 and first % 64 == 0 else 0


def _known(side: int | None) -> int:
    if side is None:
        raise Error("q8_0 caches have their heads turned: the model's layers are wanted, or "
                    "rotation=False", Status.UNSUPPORTED)
    return side


def _read_cache(source: _Bytes, state: State, sides: Sides) -> _Cache:
    state.streams = source.number()
    if not 1 <= state.streams <= MOST_STREAMS:
        raise Error(f"{state.streams} streams; legal: 1 ... {MOST_STREAMS}", Status.FORMAT)
    cache = _Cache(np.empty(0, np.int32), [], [], sides)
    for _ in range(state.streams):
        cells = source.number()
        if cells == 0:
            continue
        if len(cache.positions) > 0:
            raise Error("several sequences in one state; save each by itself", Status.UNSUPPORTED)
        cache = _read_stream(source, cells, state, sides)
    return cache


def _read_stream(source: _Bytes, cells: int, state: State, sides: Sides) -> _Cache:
    positions = _read_cells(source, cells)
    transposed, layers = source.number(), source.number()
    if transposed > 1 or layers > MOST_LAYERS:
        raise Error(f"{layers} layers, transposed = {transposed}: not a cache", Status.FORMAT)
    if VERSIONS[state.version] >= 4:
        sides = source.number(), source.number()
    state.values_transposed = transposed == 1
    keys, quantised_keys = _read_kind(source, cells, layers, False, sides[0])
    values, quantised_values = _read_kind(source, cells, layers, transposed == 1, sides[1])
    state.quantised = quantised_keys, quantised_values
    return _Cache(positions, keys, values, sides)


def _read_cells(source: _Bytes, cells: int) -> npt.NDArray[np.int32]:
    if cells > source.left // CELL_BYTES:
        raise Error(f"{cells} cells cannot be in {source.left} bytes", Status.FORMAT)
    numbers = source.array("<i4", 3 * cells).reshape(cells, 3)  # position, number of ids, one id
    if (numbers[:, 1] != 1).any() or (numbers[:, 2] != numbers[0, 2]).any():
        raise Error("several sequences in one state; save each by itself", Status.UNSUPPORTED)
    return numbers[:, 0]


def _read_kind(source: _Bytes, cells: int, layers: int, transposed: bool,
               side: int | None) -> tuple[Rows, bool]:
    """Keys or values, and whether they are q8_0."""
    rows: Rows = []
    quantised = False
    for _ in range(layers):
        number = source.number("i")
        if number == q8_0.TYPE and not transposed:
            quantised = True
            rows.append(_read_quantised(source, cells, _known(side)))
        else:
            rows.append(_read_rows(source, cells, number, transposed))
    return rows, quantised


def _read_quantised(source: _Bytes, cells: int, side: int) -> npt.NDArray[np.float16]:
    row_bytes, size = source.number("Q"), q8_0.BLOCK.itemsize
    if row_bytes % size != 0:
        raise Error(f"q8_0 rows of {row_bytes} bytes; legal: multiples of {size}", Status.FORMAT)
    return q8_0.decode(source.array(q8_0.BLOCK, cells * (row_bytes // size)), cells, side)


def _read_rows(source: _Bytes, cells: int, number: int, transposed: bool) -> npt.NDArray[Any]:
    dtype = TYPES.get(number)
    if dtype is None:
        raise Error(f"a cache of ggml's type {number}, transposed = {transposed}; legal: f32 (0), "
                    f"f16 (1), and q8_0 ({q8_0.TYPE}) if it is not transposed", Status.UNSUPPORTED)
    row_bytes = source.number() * source.number() if transposed else source.number("Q")
    width = row_bytes // dtype.itemsize
    values = source.array(dtype, cells * width)
    return values.reshape(width, cells).T if transposed else values.reshape(cells, width)


def _read_recurrent(source: _Bytes, layers: Sequence[Layer] | None) -> RecurrentState:
    """What is behind the caches, to the end."""
    behind = source.left
    try:
        return _read_recurrent_part(source)
    except Error as e:
        windows = "of a model with windows? Then its layers are wanted; " if layers is None else ""
        raise Error(f"{behind} bytes behind the caches: {windows}no recurrent state of a hybrid "
                    f"either: {e}", Status.UNSUPPORTED) from e


def _number_layers(state: State, numbers: Sequence[int]) -> None:
    met = 0 if state.recurrent is None else len(state.recurrent.layers)
    if state.recurrent is None or met != len(numbers):
        raise Error(f"the state has {met} recurrent layers, the model {len(numbers)}",
                    Status.MISMATCH)
    state.recurrent.layers = list(numbers)


def _read_recurrent_part(source: _Bytes) -> RecurrentState:
    cells, position, sequences = source.number(), source.number("i"), source.number()
    if cells != 1 or position < 0 or sequences > 1:
        raise Error(f"{cells} cells at position {position} of {sequences} sequences; legal: one, of "
                    "one", Status.UNSUPPORTED)
    if sequences == 1:
        source.number("i")
    transposed, model_layers = source.number(), source.number()
    if transposed != 0 or model_layers > MOST_LAYERS:
        raise Error(f"{model_layers} layers, transposed = {transposed}", Status.FORMAT)
    rows: Rows = []
    while source.left > 0 and len(rows) < 2 * model_layers:
        dtype = TYPES.get(source.number("i"))
        size = source.number("Q")
        if dtype is None or size % dtype.itemsize != 0:
            raise Error(f"rows of {size} bytes and another type than f32 (0) and f16 (1)",
                        Status.UNSUPPORTED)
        rows.append(source.array(dtype, size // dtype.itemsize))
    half = len(rows) // 2
    if source.left > 0 or half == 0 or len(rows) % 2 != 0:
        raise Error(f"{len(rows)} rows and {source.left} bytes; legal: two rows a layer",
                    Status.FORMAT)
    return RecurrentState(position + 1, model_layers, list(range(half)), rows[:half], rows[half:])


def _in_order(state: State, caches: list[_Cache], layers: Sequence[Layer] | None) -> State:
    """Tokens in order of their positions, layers in order of the model."""
    ordered = [_by_position(cache) for cache in caches]
    count = len(ordered[0].positions)
    if not np.array_equal(ordered[0].positions, np.arange(count)):
        raise Error(f"the positions of {count} cells are not 0 ... {count - 1}", Status.UNSUPPORTED)
    if layers is None:
        state.keys, state.values = ordered[0].keys, ordered[0].values
        return state
    if len(caches) == 2:
        state.absent = count - _newest(ordered[1].positions, count)
    following = [iter(zip(cache.keys, cache.values)) for cache in ordered]
    for i, layer in enumerate(layers):
        pair = next(following[1 if layer.window > 0 else 0], None)
        wanted = (layer.kv_heads * layer.key_dim, layer.kv_heads * layer.value_dim)
        if pair is None or (pair[0].shape[1], pair[1].shape[1]) != wanted:
            raise Error(f"layer {i} of the state is not as the model's, whose keys and values have "
                        f"{wanted} numbers", Status.MISMATCH)
        held = [_behind(rows, count, state.absent) if layer.window > 0 else rows for rows in pair]
        state.keys.append(held[0])
        state.values.append(held[1])
    if any(next(more, None) is not None for more in following):
        raise Error(f"the state has more layers than the model's {len(layers)}", Status.MISMATCH)
    return state


def _by_position(cache: _Cache) -> _Cache:
    if (np.diff(cache.positions) > 0).all():
        return cache
    order = np.argsort(cache.positions, kind="stable")
    return _Cache(cache.positions[order], [rows[order] for rows in cache.keys],
                  [rows[order] for rows in cache.values], cache.sides)


def _newest(positions: npt.NDArray[np.int32], count: int) -> int:
    """How many of the newest positions are there without a gap, up to count - 1."""
    expected = np.arange(count - len(positions), count)
    gaps = np.flatnonzero(positions != expected)
    return len(positions) if len(gaps) == 0 else len(positions) - 1 - int(gaps[-1])


def _behind(rows: npt.NDArray[Any], count: int, absent: int) -> npt.NDArray[Any]:
    whole = np.zeros((count, rows.shape[1]), rows.dtype)
    whole[absent:] = rows[len(rows) - (count - absent):]
    return whole


def _head(state: State) -> list[bytes]:
    def number(n: int) -> bytes:
        return struct.pack("<I", n)

    def listed() -> list[bytes]:
        if state.tokens is None:
            raise Error(f"a {state.form} lists tokens, and there are none", Status.USAGE)
        tokens = integers(state.tokens)
        return [number(len(tokens)), tokens.tobytes()]

    name = state.architecture.encode("ascii")
    forms: dict[str, Callable[[], list[bytes]]] = {
        "session file": lambda: [number(SESSION_MAGIC), number(state.version), *listed(),
                                 number(len(name)), name],
        "sequence file": lambda: [number(SEQUENCE_MAGIC), number(VERSIONS[state.version]),
                                  *listed()],
        "sequence data": lambda: [number(DATA_MAGIC), number(0)],
        "context data": lambda: [number(len(name)), name],
    }
    _legal(state.version, VERSIONS)
    if state.form not in forms:
        raise Error(f"form {state.form!r}; legal: {list(forms)}", Status.USAGE)
    return forms[state.form]()


def _cache(state: State, layers: list[int], first: int, sides: Sides) -> list[bytes]:
    """The tokens from `first` on, of these layers, in the first stream."""
    count = len(state) - first
    turned = [_known(side) if quantised else None
              for side, quantised in zip(sides, state.quantised)]
    parts = [struct.pack("<II", state.streams, count)]
    if count > 0:
        cells = np.zeros((count, 3), "<i4")
        cells[:, 0] = np.arange(first, len(state))
        cells[:, 1] = 1
        parts += [cells.tobytes(), struct.pack("<II", state.values_transposed, len(layers))]
        if VERSIONS[state.version] >= 4:
            parts.append(struct.pack("<II", *(side or 0 for side in turned)))
        for i in layers:
            parts += _rows(state.keys[i][first:], False, turned[0])
        for i in layers:
            parts += _rows(state.values[i][first:], state.values_transposed, turned[1])
    return parts + [struct.pack("<I", 0)] * (state.streams - 1)


def _recurrent(state: RecurrentState, names_sequence: bool) -> list[bytes]:
    ids = struct.pack("<Ii", 1, 0) if names_sequence else struct.pack("<I", 0)
    parts = [struct.pack("<Ii", 1, state.position - 1), ids,
             struct.pack("<II", 0, state.model_layers)]
    numbers = {dtype: number for number, dtype in TYPES.items()}
    for row in (*state.r, *state.s):
        values = flat(row)
        parts += [struct.pack("<iQ", numbers[values.dtype], values.nbytes), values.tobytes()]
    return parts


def _rows(rows: npt.NDArray[Any], transposed: bool, turned: int | None) -> list[bytes]:
    """turned: of rows that become q8_0, the side of the matrix; None: they stay as they are."""
    flat = rows.reshape(len(rows), -1)
    numbers = [number for number, dtype in TYPES.items() if dtype == flat.dtype]
    if not numbers:
        raise Error(f"rows of {flat.dtype}; legal: float16, float32", Status.USAGE)
    if turned is not None:
        return _quantised_rows(flat, transposed, turned)
    width, size = flat.shape[1], flat.dtype.itemsize
    if transposed:
        return [struct.pack("<iII", numbers[0], size, width), flat.T.tobytes()]
    return [struct.pack("<iQ", numbers[0], width * size), flat.tobytes()]


def _quantised_rows(rows: npt.NDArray[Any], transposed: bool, side: int) -> list[bytes]:
    if transposed:
        raise Error("llama.cpp has no cache of q8_0 values without flash attention; legal: "
                    "values_transposed=False", Status.USAGE)
    blocks = q8_0.encode(rows, side).tobytes()
    return [struct.pack("<iQ", q8_0.TYPE, len(blocks) // len(rows)), blocks]
