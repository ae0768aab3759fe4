"""Blocks of rows in, bytes out, and back."""

import os
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Union

import numpy as np
import numpy.typing as npt

from . import _core
from .embeddings import EmbeddingTable
from .errors import Error, Status

Space = Literal["raw", "cached"]
Path = Union[str, "os.PathLike[str]"]
Rows = list[npt.NDArray[Any]]
"""Keys or values: an array [tokens, KV heads, dim] for each layer."""


class Layer(NamedTuple):
    """One layer of a model's cache."""

    kv_heads: int
    key_dim: int
    """Numbers of a head's key."""
    value_dim: int
    window: int = 0
    """Tokens that attention sees; 0: all."""


class Codec:
    """A fitted codec. Several threads may use one at once."""

    def __init__(self, core: _core.Codec):
        """Codec.load makes codecs."""
        self._core = core

    @classmethod
    def load(cls, source: Union[Path, bytes]) -> "Codec":
        """Loads a codec file, codec.gguf, from its path or its bytes."""
        if isinstance(source, bytes):
            return cls(_core.Codec.open_bytes(source))
        return cls(_core.Codec.open(os.fspath(source)))

    @property
    def layers(self) -> list[Layer]:
        """Those of the model that own a cache, in order."""
        return [Layer(*numbers) for numbers in self._core.layers]

    @property
    def layer_numbers(self) -> list[int]:
        """Of `layers`, in the model, where layers without a cache count, too."""
        return self._core.layer_numbers

    @property
    def recurrent_layers(self) -> list[int]:
        """Those of a hybrid model, by their number in it."""
        return self._core.recurrent_layers

    @property
    def pipeline(self) -> str:
        """The stages, such as "klt(scope=layer) | step(delta=0.6) | range"."""
        return self._core.pipeline

    @property
    def fingerprint(self) -> str:
        """32 hex digits that tell this codec from others."""
        return self._core.fingerprint

    @property
    def model(self) -> str:
        """The fingerprint of the model it was fitted for."""
        return self._core.model

    @property
    def embedding_dim(self) -> int:
        """Numbers of a token embedding; 0: the codec reads no embeddings."""
        return self._core.embedding_dim

    @property
    def is_lossless(self) -> bool:
        """Whether float16 rows in cached space come back to the bit."""
        return self._core.is_lossless

    @property
    def block_tokens(self) -> int:
        """The best number of tokens of a block."""
        return self._core.block_tokens

    def encode(self, tokens: npt.ArrayLike, positions: npt.ArrayLike, keys: Sequence[Any],
               values: Sequence[Any], space: Space = "cached",
               embeddings: EmbeddingTable | None = None) -> bytes:
        """The bytes of a block.

        tokens, positions: [n] integers; the bytes do not hold them, keep them beside.
        keys, values: an array for each layer, [n, KV heads, dim] or [n, KV heads * dim], of
        float16, bfloat16 or float32, from NumPy or whatever library has DLPack. Arrays with strides
        are read in place, but those whose heads do not lie in one row are copied.
        space: of the keys; "raw" before rotary embedding, "cached" turned as a cache holds them.
        """
        return self._core.encode(integers(tokens), integers(positions), list(keys), list(values),
                                 is_cached(space), 0, embeddings)

    def decode(self, data: bytes, tokens: npt.ArrayLike, positions: npt.ArrayLike,
               space: Space = "cached", embeddings: EmbeddingTable | None = None,
               dtype: npt.DTypeLike = np.float32) -> tuple[Rows, Rows]:
        """Keys and values of a block, arrays [n, KV heads, dim] for each layer.

        tokens, positions: those it was encoded with. dtype: float32 or float16. Layers with a
        window that the block lacks are zeros.
        """
        keys, values = room(self.layers, np.size(tokens), dtype)
        self.decode_into(data, tokens, positions, keys, values, space, embeddings)
        return keys, values

    def decode_into(self, data: bytes, tokens: npt.ArrayLike, positions: npt.ArrayLike,
                    keys: Sequence[Any], values: Sequence[Any], space: Space = "cached",
                    embeddings: EmbeddingTable | None = None) -> int:
        """The same, into arrays that are there, float32 or float16, such as slices of a cache.

        Returns of how many tokens layers with a window have no rows; these stay as they are.
        """
        return self._core.decode_into(data, integers(tokens), integers(positions),
                                      is_cached(space), embeddings, list(keys), list(values))

    def __repr__(self) -> str:
        return f"<kvsplice.Codec {self.pipeline!r}, {len(self.layers)} layers>"


def room(layers: Sequence[Layer], count: int, dtype: npt.DTypeLike) -> tuple[Rows, Rows]:
    """Zeros for the keys and values of so many tokens."""
    keys: Rows = [np.zeros((count, of.kv_heads, of.key_dim), dtype) for of in layers]
    values: Rows = [np.zeros((count, of.kv_heads, of.value_dim), dtype) for of in layers]
    return keys, values


def integers(numbers: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """Tokens or positions as the library takes them."""
    given = np.asarray(numbers)
    if given.ndim != 1 or (given.size > 0 and given.dtype.kind not in "iu"):
        raise Error(f"tokens and positions of type {given.dtype} and shape {given.shape}; legal: "
                    "integers of shape [n]", Status.USAGE)
    held = np.ascontiguousarray(given, dtype=np.int32)
    if not np.array_equal(held, given):
        raise Error("tokens or positions beyond 32 bits", Status.USAGE)
    return held


def is_cached(space: Space) -> bool:
    if space not in ("raw", "cached"):
        raise Error(f"space {space!r}; legal: 'raw', 'cached'", Status.USAGE)
    return space == "cached"
