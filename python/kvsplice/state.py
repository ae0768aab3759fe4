"""The states llama.cpp saves, as bytes and as arrays.

Four forms share one body (src/host/state_blob.h):
    session file    llama_state_save_file:      'ggsn', version, tokens, architecture, caches
    sequence file   llama_state_seq_save_file:  'ggsq', version, tokens, caches
    sequence data   llama_state_seq_get_data:   magic, sequence, caches
    context data    llama_state_get_data:       architecture, caches
Models with sliding windows have two caches, full layers first. A cache has one stream of cells, or
one for each sequence its context can hold.
"""

import dataclasses
import struct
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .codec import Layer, Rows, integers
from .errors import Error, Status

Form = Literal["session file", "sequence file", "sequence data", "context data"]

SESSION_MAGIC, SEQUENCE_MAGIC, DATA_MAGIC = 0x6767736E, 0x67677371, 0xAF143CD8
VERSIONS = {10: 3, 11: 4}  # of session files: that of sequence files
TYPES: dict[int, np.dtype[Any]] = {0: np.dtype(np.float32), 1: np.dtype(np.float16)}  # by ggml
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

    def __len__(self) -> int:
        return len(self.keys[0]) if self.keys else 0


@dataclasses.dataclass
class _Cache:
    positions: npt.NDArray[np.int32]
    keys: Rows
    values: Rows
    transposed: bool


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


def unpack_state(data: bytes, layers: Sequence[Layer] | None = None,
                 version: int = 10) -> State:
    """The arrays of a state of any form, of caches of type f16 or f32. They lie in `data` where its
    cells are in order.

    layers: the model's, as Codec.layers has them. Without them models with windows are refused, and
    nothing is compared. version: of the llama.cpp that made data without a version: 10, or 11 since
    it writes how heads are turned.
    """
    source = _Bytes(data)
    state = _read_head(source, version)
    caches = [_read_cache(source, state)]
    windowed = layers is not None and any(layer.window > 0 for layer in layers)
    if windowed:
        caches.append(_read_cache(source, state))
    elif source.left > 0 and layers is None:
        raise Error(f"{source.left} bytes behind the cache: of a model with windows? Then its "
                    "layers are wanted", Status.UNSUPPORTED)
    return _in_order(state, caches, layers)


def pack_state(state: State, layers: Sequence[Layer] | None = None) -> bytes:
    """The bytes, which llama.cpp loads into a cache of their own kind.

    layers: as for unpack_state. Only what it sees of it is kept of layers with a window.
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
        parts += _cache(state, chosen, first)
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


def _read_cache(source: _Bytes, state: State) -> _Cache:
    state.streams = source.number()
    if not 1 <= state.streams <= MOST_STREAMS:
        raise Error(f"{state.streams} streams; legal: 1 ... {MOST_STREAMS}", Status.FORMAT)
    cache = _Cache(np.empty(0, np.int32), [], [], state.values_transposed)
    for _ in range(state.streams):
        cells = source.number()
        if cells == 0:
            continue
        if len(cache.positions) > 0:
            raise Error("several sequences in one state; save each by itself", Status.UNSUPPORTED)
        cache = _read_stream(source, cells, state)
    return cache


def _read_stream(source: _Bytes, cells: int, state: State) -> _Cache:
    positions = _read_cells(source, cells)
    transposed, layers = source.number(), source.number()
    if transposed > 1 or layers > MOST_LAYERS:
        raise Error(f"{layers} layers, transposed = {transposed}: not a cache", Status.FORMAT)
    if VERSIONS[state.version] >= 4:
        source.skip(8)  # how heads are turned, which only quantised ones are
    state.values_transposed = transposed == 1
    keys = [_read_rows(source, cells, False) for _ in range(layers)]
    values = [_read_rows(source, cells, transposed == 1) for _ in range(layers)]
    return _Cache(positions, keys, values, transposed == 1)


def _read_cells(source: _Bytes, cells: int) -> npt.NDArray[np.int32]:
    if cells > source.left // CELL_BYTES:
        raise Error(f"{cells} cells cannot be in {source.left} bytes", Status.FORMAT)
    numbers = source.array("<i4", 3 * cells).reshape(cells, 3)  # position, number of ids, one id
    if (numbers[:, 1] != 1).any() or (numbers[:, 2] != numbers[0, 2]).any():
        raise Error("several sequences in one state; save each by itself", Status.UNSUPPORTED)
    return numbers[:, 0]


def _read_rows(source: _Bytes, cells: int, transposed: bool) -> npt.NDArray[Any]:
    number = source.number("i")
    dtype = TYPES.get(number)
    if dtype is None:
        raise Error(f"a cache of ggml's type {number}; legal: f16 and f32 ({list(TYPES)})",
                    Status.UNSUPPORTED)
    row_bytes = source.number() * source.number() if transposed else source.number("Q")
    width = row_bytes // dtype.itemsize
    values = source.array(dtype, cells * width)
    return values.reshape(width, cells).T if transposed else values.reshape(cells, width)


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
                  [rows[order] for rows in cache.values], cache.transposed)


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


def _cache(state: State, layers: list[int], first: int) -> list[bytes]:
    """The tokens from `first` on, of these layers, in the first stream."""
    count = len(state) - first
    parts = [struct.pack("<II", state.streams, count)]
    if count > 0:
        cells = np.zeros((count, 3), "<i4")
        cells[:, 0] = np.arange(first, len(state))
        cells[:, 1] = 1
        parts += [cells.tobytes(), struct.pack("<II", state.values_transposed, len(layers))]
        if VERSIONS[state.version] >= 4:
            parts.append(struct.pack("<II", 0, 0))
        for i in layers:
            parts += _rows(state.keys[i][first:], False)
        for i in layers:
            parts += _rows(state.values[i][first:], state.values_transposed)
    return parts + [struct.pack("<I", 0)] * (state.streams - 1)


def _rows(rows: npt.NDArray[Any], transposed: bool) -> list[bytes]:
    flat = rows.reshape(len(rows), -1)
    numbers = [number for number, dtype in TYPES.items() if dtype == flat.dtype]
    if not numbers:
        raise Error(f"rows of {flat.dtype}; legal: float16, float32", Status.USAGE)
    width, size = flat.shape[1], flat.dtype.itemsize
    if transposed:
        return [struct.pack("<iII", numbers[0], size, width), flat.T.tobytes()]
    return [struct.pack("<iQ", numbers[0], width * size), flat.tobytes()]
