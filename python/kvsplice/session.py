"""Sessions: files of compressed blocks that also say which tokens they hold."""

import os
from collections.abc import Sequence
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from . import _core
from .codec import Codec, Layer, Path, Rows, integers, room
from .embeddings import EmbeddingTable
from .errors import Error, Status
from .recurrent import RecurrentState, StateEncoding, all_to_core, encoding_number, from_core


class Session:
    """A session that is read. Several threads may read one at once."""

    def __init__(self, core: _core.Session):
        """Session.open makes sessions."""
        self._core = core

    @classmethod
    def open(cls, source: Union[Path, bytes, memoryview], codec: Codec | None = None,
             embeddings: EmbeddingTable | None = None) -> "Session":
        """Opens a session file from its path or its bytes.

        The bytes are not copied: what a memoryview is of must stay as it is while the session is
        in use. codec: the one it was packed by; None for lossless sessions without one.
        """
        if isinstance(source, (bytes, memoryview)):
            return cls(_core.Session.open_bytes(_flat(source), _core_of(codec), embeddings))
        return cls(_core.Session.open(os.fspath(source), _core_of(codec), embeddings))

    @staticmethod
    def pack(path: Path, tokens: npt.ArrayLike, keys: Sequence[Any], values: Sequence[Any],
             codec: Codec | None = None, embeddings: EmbeddingTable | None = None, *,
             model: str = "", architecture: str = "", layers: Sequence[Layer] = (),
             pending: npt.ArrayLike = (), absent: int = 0, block_tokens: int = 0, sinks: int = 4,
             window: int = 32, states: Sequence[RecurrentState] | None = None,
             state_encoding: StateEncoding = "exact",
             layer_numbers: Sequence[int] = ()) -> None:
        """Writes a new session of the tokens at positions 0, 1, ...

        tokens: [n]. keys, values: as Codec.encode takes them, in cached space. Sessions hold
        float16: other rows are rounded to it, or refused if nothing may be lost and rounding would
        change a number. pending: tokens behind them that have no rows yet. absent: so many first
        tokens have no rows in layers with a window. Without a codec nothing is lost; `model`, a
        text of at most 64 characters that tells the model from others, and `layers` are needed
        then. block_tokens: coded together; 0: what suits the codec. The first `sinks` and the
        newest `window` tokens are kept exactly. states: of hybrids, in the order of their
        positions; [] keeps the cells alone, from which text cannot go on. They are kept to the bit,
        in half precision ("f16"), or in 8 bits ("q8"). layer_numbers: of `layers` in the model, if layers without a cache
        stand between them.
        """
        _pack(os.fspath(path), tokens, keys, values, codec, embeddings, model, architecture,
              layers, pending, absent, block_tokens, sinks, window, states, state_encoding,
                     layer_numbers)

    @staticmethod
    def pack_bytes(tokens: npt.ArrayLike, keys: Sequence[Any], values: Sequence[Any],
                   codec: Codec | None = None, embeddings: EmbeddingTable | None = None, *,
                   model: str = "", architecture: str = "", layers: Sequence[Layer] = (),
                   pending: npt.ArrayLike = (), absent: int = 0, block_tokens: int = 0,
                   sinks: int = 4, window: int = 32,
                   states: Sequence[RecurrentState] | None = None,
                   state_encoding: StateEncoding = "exact",
                   layer_numbers: Sequence[int] = ()) -> bytes:
        """The bytes of the file that Session.pack writes of the same."""
        return _pack(None, tokens, keys, values, codec, embeddings, model, architecture, layers,
                     pending, absent, block_tokens, sinks, window, states, state_encoding,
                     layer_numbers)

    @staticmethod
    def extend(path: Path, tokens: npt.ArrayLike, keys: Sequence[Any], values: Sequence[Any],
               codec: Codec | None = None, embeddings: EmbeddingTable | None = None, *,
               pending: npt.ArrayLike = (), absent: int = 0, first: int | None = None,
               states: Sequence[RecurrentState] | None = None,
               state_encoding: StateEncoding = "exact", instead_of: int = 0) -> None:
        """Adds the tokens that follow those with rows at once; all that was pending among them.

        first: the position of the first one, to be compared with the session's. states,
        state_encoding: as for Session.pack; instead_of: the state behind so many tokens goes.

        What is there is not coded again, but for the newest tokens, and stays readable whatever
        happens.
        """
        _core.extend(os.fspath(path), integers(tokens), list(keys), list(values), absent,
                     integers(pending), _core_of(codec), embeddings, first, all_to_core(states),
                     encoding_number(state_encoding), instead_of)

    def __len__(self) -> int:
        """The number of tokens that have rows."""
        return self._core.size

    @property
    def layers(self) -> list[Layer]:
        """Those of the model that own a cache, in order."""
        return [Layer(*numbers) for numbers in self._core.layers]

    @property
    def model(self) -> str:
        """The fingerprint of the model."""
        return self._core.model

    @property
    def tokens(self) -> npt.NDArray[np.int32]:
        """Those that have rows, and then the pending ones."""
        tokens = np.empty(self._core.size + self._core.pending, np.int32)
        self._core.read_tokens(tokens)
        return tokens

    @property
    def states(self) -> list[int]:
        """Of a hybrid: behind how many tokens a recurrent state is stored."""
        return self._core.states

    def state(self, position: int) -> RecurrentState:
        """The recurrent state behind the first `position` tokens."""
        return from_core(self._core.state(position))

    def read(self, first: int = 0, count: int | None = None,
             dtype: npt.DTypeLike = np.float16) -> tuple[Rows, Rows]:
        """Keys and values of the tokens [first, first + count), in cached space: an array
        [count, KV heads, dim] for each layer, of float16 or float32. Only what they lie in is read
        of the file. Rows that a window has passed are zeros."""
        n = len(self) - first if count is None else count
        keys, values = room(self.layers, max(n, 0), dtype)
        self.read_into(first, keys, values)
        return keys, values

    def read_into(self, first: int, keys: Sequence[Any], values: Sequence[Any]) -> int:
        """The same, into arrays that are there; as many tokens as these have.

        Returns of how many tokens layers with a window have no rows; these stay as they are.
        """
        count = int(keys[0].shape[0]) if len(keys) > 0 else 0
        return self._core.read_into(first, count, list(keys), list(values))

    def __repr__(self) -> str:
        return f"<kvsplice.Session of {len(self)} tokens>"


def _pack(path: str | None, tokens: npt.ArrayLike, keys: Sequence[Any], values: Sequence[Any],
          codec: Codec | None, embeddings: EmbeddingTable | None, model: str, architecture: str,
          layers: Sequence[Layer], pending: npt.ArrayLike, absent: int, block_tokens: int,
          sinks: int, window: int, states: Sequence[RecurrentState] | None,
          state_encoding: StateEncoding, layer_numbers: Sequence[int]) -> bytes:
    """To a file, or without a path to the bytes that are returned."""
    held = integers(tokens)
    positions = np.arange(len(held), dtype=np.int32)
    return _core.pack(path, held, positions, list(keys), list(values), absent, integers(pending),
                      _core_of(codec), model, architecture, list(layers), list(layer_numbers),
                      embeddings, block_tokens, sinks, window, all_to_core(states),
                      encoding_number(state_encoding))


def _flat(data: Union[bytes, memoryview]) -> npt.NDArray[np.uint8]:
    """The same bytes, not copied, and kept for as long as the array is."""
    if isinstance(data, memoryview) and not data.c_contiguous:
        raise Error("a memoryview that is not contiguous; legal: the bytes of a session file in "
                    "one piece", Status.USAGE)
    return np.frombuffer(data, np.uint8)


def _core_of(codec: Codec | None) -> _core.Codec | None:
    return None if codec is None else codec._core
