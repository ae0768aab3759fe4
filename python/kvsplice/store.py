"""Stores: the cells of many prompts in one folder, which `kvsplice serve` uses, too."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core
from .codec import Codec, Layer, Path, Rows, integers, room
from .embeddings import EmbeddingTable
from .errors import Error, Status

CAPACITY_BYTES = 20 << 30  # of a store, if nothing else is said; `kvsplice serve` has the same


def model_fingerprint(path: Path) -> str:
    """32 hex digits that tell a GGUF model from others, whatever its file is called: what
    Codec.model is of. The model is not loaded; of a split one, name the first part."""
    return _core.model_fingerprint(os.fspath(path))


class Match:
    """The longest prefix of some tokens that a bank has."""

    def __init__(self, core: "_core.Match"):
        """Bank.find makes matches."""
        self._core = core

    def __len__(self) -> int:
        """The number of tokens."""
        return self._core.tokens


class Bank:
    """The cells in a store of one model, coded by one codec, from caches of the same types, and
    of one tenant. Several threads may use one at once."""

    def __init__(self, core: "_core.Bank"):
        """Store.bank makes banks."""
        self._core = core

    @property
    def layers(self) -> list[Layer]:
        """Those of the model that own a cache, in order."""
        return [Layer(*numbers) for numbers in self._core.layers]

    def find(self, tokens: npt.ArrayLike) -> Match:
        """The longest prefix of the tokens [n] that is there, compared token by token. What turns
        out to be gone or damaged ends it, and is forgotten."""
        return Match(self._core.find(integers(tokens)))

    def read(self, match: Match, tokens: npt.ArrayLike) -> tuple[Rows, Rows]:
        """Keys and values of tokens [n] that begin with no more than the match has: an array
        [n, KV heads, dim] for each layer, float16, in cached space."""
        keys, values = room(self.layers, np.size(tokens), np.float16)
        self._core.read_into(match._core, integers(tokens), list(keys), list(values))
        return keys, values

    def keep(self, tokens: npt.ArrayLike, keys: Sequence[Any], values: Sequence[Any],
             prompt: int | None = None) -> int:
        """Stores the tokens [n] at the positions 0, 1, ... and codes only what is not there.

        keys, values: as Codec.encode takes them, in cached space, of float16, or of what rounding
        to it changes only where a codec may lose something. prompt: so many of the tokens are
        not the model's own answer, which is the first to go where room is short; None: all.
        Returns how many first tokens are there now: fewer than 16 behind the last whole block are
        left out.
        """
        held = integers(tokens)
        return self._core.keep(held, list(keys), list(values),
                               len(held) if prompt is None else prompt)


class Store:
    """A folder of cells, sealed by the key in it. Other threads and processes may use it at the
    same time, `kvsplice serve` among them; `kvsplice store` looks after it."""

    def __init__(self, core: "_core.Store"):
        """Store.open makes stores."""
        self._core = core

    @classmethod
    def open(cls, folder: Path, capacity_bytes: int = CAPACITY_BYTES) -> "Store":
        """Opens the store, and makes one where there is none.

        capacity_bytes: of all that is in it, whoever stored it; what was not used for longest goes
        first. All programs that use the store should agree on it.
        """
        name = os.fspath(folder)
        if "://" in name:
            raise Error("a store is a folder, not a URL: a remote stands behind the store of "
                        "`kvsplice serve --remote`", Status.USAGE)
        if not hasattr(_core, "Store"):
            raise Error("this package was built without stores: install libsodium, SQLite, hiredis "
                        "and libcurl, with their headers, and build it again", Status.UNSUPPORTED)
        return cls(_core.Store.open(name, capacity_bytes))

    @property
    def bytes(self) -> int:
        """Of all objects in it."""
        return self._core.bytes

    @property
    def key(self) -> str:
        """16 hex digits that tell the store's key from others, and not what it is."""
        return self._core.key

    def bank(self, codec: Codec | None = None, embeddings: EmbeddingTable | None = None, *,
             model: str = "", layers: Sequence[Layer] = (), key_type: str = "f16",
             value_type: str = "f16", tenant: str = "") -> Bank:
        """The cells of these in the store.

        codec: None: nothing is lost; `model` and `layers` are needed then. model: its fingerprint,
        which is compared with the codec's if both are given. key_type, value_type: of the cache
        that cells come from and go to, as llama.cpp names them. tenant: whose prompts these are;
        others do not find them. To `kvsplice serve` a tenant is a client's API key.
        """
        if any(layer.window > 0 for layer in (codec.layers if codec else layers)):
            raise Error("a model with sliding windows; legal: models whose layers all see every "
                        "token", Status.UNSUPPORTED)
        return Bank(_core.Bank.open(self._core, codec._core if codec else None, embeddings, model,
                                    list(layers), key_type, value_type, tenant))

    def __repr__(self) -> str:
        return f"<kvsplice.Store of {self.bytes} bytes>"
