"""A cache for llama-cpp-python that keeps prompts compressed, in memory, a folder or a store."""

import hashlib
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Union, cast

import numpy as np
import numpy.typing as npt
from llama_cpp.llama import Llama, LlamaState
from llama_cpp.llama_cache import BaseLlamaCache

from . import llama_sessions, llama_store
from .codec import Codec
from .embeddings import Embeddings, EmbeddingTable
from .errors import Error, Status
from .llama_state import Description, tokens_of
from .store import CAPACITY_BYTES, Store

MEMORY = "/dev/shm"  # a folder of Linux's that lies in memory
SESSION_BYTES = 2 << 30
NO_TOKEN = -1

Found = Union[llama_sessions.Found, llama_store.Found]


class LlamaCache(BaseLlamaCache):
    """For `llm.set_cache(kvsplice.LlamaCache(codec="codec.gguf", model="model.gguf"))`.

    The longest prefix of a prompt is found among all that is kept, and only as much is decoded as
    the prompt shares with it, and only if the context does not hold it already. What is kept is not
    coded again when a conversation goes on. The logits that llama-cpp-python stores beside a state
    are left out: they are zeros in what is restored, which only matters for log-probabilities of a
    prompt (logits_all and echo).

    codec: the codec file, its bytes or a Codec; None: nothing is lost.
    model: the GGUF file, whose embeddings most codecs read (then the package gguf is needed), and
    which without a codec tells models apart; any text will do for that, but not with a store.
    path: a folder of session files, one for each conversation, which other processes may use, too;
    None, and no store either: in memory, as long as the cache is.
    store: the folder of a store, which `kvsplice serve` and other processes may use, too: what one
    has stored the others find, if model, codec, types of the cache and tenant are the same.
    tenant: in a store, whose prompts these are; to `kvsplice serve` a client's API key.
    capacity_bytes: of all sessions of this codec or model (None: 2 GiB), or of the store, whoever
    has stored what is in it (None: 20 GiB); what was not used for longest goes.
    n_ctx: of the Llama that loads, if it is another than that of the one that saved.
    sinks, window: first and newest tokens that a codec keeps exactly; a store's are 4 and 32.

    What cannot be kept or read is warned of (RuntimeWarning), then evaluated as without a cache.
    What is wrong with the arguments is an Error: a codec of another model, a store that has lost
    its key (Status.MISMATCH), that may not be read or written (Status.IO), or that is a URL.
    """

    def __init__(self, codec: Union[Codec, str, "os.PathLike[str]", bytes, None] = None,
                 model: Union[str, "os.PathLike[str]", None] = None,
                 path: Union[str, "os.PathLike[str]", None] = None,
                 capacity_bytes: int | None = None, *,
                 store: Union[str, "os.PathLike[str]", None] = None, tenant: str = "",
                 embeddings: EmbeddingTable | None = None, n_ctx: int | None = None,
                 sinks: int = 4, window: int = 32):
        usual = SESSION_BYTES if store is None else CAPACITY_BYTES
        super().__init__(usual if capacity_bytes is None else capacity_bytes)
        if codec is None and model is None:
            raise Error("neither a codec nor a model; without a codec, `model` tells whose states "
                        "these are", Status.USAGE)
        held = codec if codec is None or isinstance(codec, Codec) else Codec.load(codec)
        table = embeddings or _embeddings_for(held, model)
        self._n_ctx = n_ctx
        self._kept: Union[llama_sessions.Sessions, llama_store.Stored]
        if store is not None:
            if path is not None or (sinks, window) != (4, 32):
                raise Error("a store, and a folder of sessions or what these keep exactly; legal: "
                            "store= without path=, sinks= and window=", Status.USAGE)
            self._kept = llama_store.Stored(Store.open(store, self.capacity_bytes), held, table,
                                            model, tenant)
            return
        if tenant:
            raise Error("a tenant without a store; legal: store= beside tenant=", Status.USAGE)
        if path is None:
            self._temporary = tempfile.TemporaryDirectory(
                prefix="kvsplice-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
            path = self._temporary.name
        identity = "" if model is None else _identity(os.fspath(model))
        self._kept = llama_sessions.Sessions(Path(path), held, table, identity, sinks, window)

    @property
    def cache_size(self) -> int:
        """Bytes of all sessions of this codec or model, or of all that is in the store."""
        return self._kept.size

    def __contains__(self, key: Sequence[int]) -> bool:
        return self._find(tokens_of(key), self._asking()) is not None

    def __getitem__(self, key: Sequence[int]) -> LlamaState:
        """The state of the longest prefix, decoded when it is loaded; KeyError if there is none."""
        tokens = tokens_of(key)
        found = self._find(tokens, self._asking())
        if found is None:
            raise KeyError("no state has a prefix of these tokens")
        return cast(LlamaState, _Restored(self, found, tokens[:found.count]))

    def __setitem__(self, key: Sequence[int], value: LlamaState) -> None:
        """Keeps the tokens that have been evaluated; `key` may have one more."""
        try:
            self._kept.keep(value, self._asking())
        except (Error, OSError) as e:
            warnings.warn(f"kvsplice.LlamaCache keeps no state: {e}", RuntimeWarning, stacklevel=2)
        self._kept.make_room(self.capacity_bytes)

    def _asking(self) -> Llama | None:
        """The Llama that has called the cache, which llama-cpp-python does not hand over. A store
        needs it, as only this tells what its states are like before it has saved one."""
        if isinstance(self._kept, llama_sessions.Sessions):
            return None
        caller = sys._getframe(2).f_locals.get("self")
        return caller if isinstance(caller, Llama) else None

    def _find(self, tokens: npt.NDArray[np.int32], llm: Llama | None) -> Found | None:
        try:
            return self._kept.find(tokens, llm)
        except (Error, OSError) as e:
            warnings.warn(f"kvsplice.LlamaCache finds no state: {e}", RuntimeWarning, stacklevel=3)
            return None

    def _load(self, found: Found, tokens: npt.NDArray[np.int32]) -> tuple[bytes, Description]:
        """KeyError if it cannot be; nothing of the Llama has been touched then."""
        try:
            return found.load(tokens)
        except (Error, OSError, ValueError, TypeError) as e:
            warnings.warn(f"kvsplice.LlamaCache restores no state: {e}", RuntimeWarning,
                          stacklevel=4)
            raise KeyError(str(e)) from e


class _Restored:
    """What a LlamaState has; it is decoded when Llama.load_state asks for the scores, which it does
    first."""

    def __init__(self, cache: LlamaCache, found: Found, tokens: npt.NDArray[np.int32]):
        self._cache, self._found = cache, found
        self._loaded: tuple[bytes, Description] | None = None
        self._tokens = tokens
        self.n_tokens = len(tokens)

    def _load(self) -> tuple[bytes, Description]:
        if self._loaded is None:
            self._loaded = self._cache._load(self._found, self._tokens)
        return self._loaded

    @property
    def scores(self) -> npt.NDArray[np.single]:
        """Zeros for any number of tokens."""
        self._load()
        return np.zeros((1, 1), np.single)

    @property
    def input_ids(self) -> npt.NDArray[np.intc]:
        """As many as a context holds. Those behind the state are no tokens."""
        n_ctx = self._cache._n_ctx or (self._loaded[1].n_ctx if self._loaded else self.n_tokens)
        ids = np.full(max(n_ctx, self.n_tokens), NO_TOKEN, np.intc)
        ids[:self.n_tokens] = self._tokens
        return ids

    @property
    def llama_state(self) -> bytes:
        return self._load()[0]

    @property
    def llama_state_size(self) -> int:
        return len(self._load()[0])

    @property
    def seed(self) -> int:
        return self._load()[1].seed


def _embeddings_for(codec: Codec | None,
                    model: Union[str, "os.PathLike[str]", None]) -> EmbeddingTable | None:
    if codec is None or codec.embedding_dim == 0:
        return None
    if model is None:
        raise Error("this codec reads token embeddings: give model=, the GGUF file, or embeddings=",
                    Status.USAGE)
    return Embeddings.from_gguf(model)


def _identity(model: str) -> str:
    """32 hex digits of a file's size, start and end, or of a text."""
    digest = hashlib.sha256()
    if os.path.isfile(model):
        size = os.path.getsize(model)
        digest.update(str(size).encode())
        with open(model, "rb") as file:
            for at in (0, max(0, size - (1 << 20))):
                file.seek(at)
                digest.update(file.read(1 << 20))
    else:
        digest.update(model.encode())
    return digest.hexdigest()[:32]
