"""A cache for llama-cpp-python that keeps prompts compressed, in memory or in a folder."""

import dataclasses
import hashlib
import json
import os
import tempfile
import uuid
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union, cast

import numpy as np
import numpy.typing as npt
from llama_cpp.llama import LlamaState
from llama_cpp.llama_cache import BaseLlamaCache

from .codec import Codec, Layer, Rows, room
from .embeddings import Embeddings, EmbeddingTable
from .errors import Error, Status
from .q8_0 import halves
from .session import Session
from .state import State, pack_state, unpack_state

MEMORY = "/dev/shm"  # a folder of Linux's that lies in memory
NO_TOKEN = -1


class LlamaCache(BaseLlamaCache):
    """For `llm.set_cache(kvsplice.LlamaCache(codec="codec.gguf", model="model.gguf"))`.

    Each conversation is one session file; one that goes on is extended, and its blocks are not
    coded again. The longest prefix of a prompt is found among all sessions, and only as much of a
    session is decoded as the prompt shares with it, and only if the context does not hold it
    already. The logits that llama-cpp-python stores beside a state are left out: they are zeros in
    what is restored, which only matters for log-probabilities of a prompt (logits_all and echo).

    codec: the codec file, its bytes or a Codec; None: nothing is lost.
    model: the GGUF file, whose embeddings most codecs read (then the package gguf is needed), and
    which without a codec tells models apart; any text will do for that.
    path: a folder, which other processes may use, too; None: in memory, as long as the cache is.
    capacity_bytes: of all sessions of this codec or model; the longest unused are deleted.
    n_ctx: of the Llama that loads, if it is another than that of the one that saved.
    sinks, window: first and newest tokens that a codec keeps exactly.

    What cannot be kept or read is warned of (RuntimeWarning), then evaluated as without a cache.
    """

    def __init__(self, codec: Union[Codec, str, "os.PathLike[str]", bytes, None] = None,
                 model: Union[str, "os.PathLike[str]", None] = None,
                 path: Union[str, "os.PathLike[str]", None] = None,
                 capacity_bytes: int = 2 << 30, *, embeddings: EmbeddingTable | None = None,
                 n_ctx: int | None = None, sinks: int = 4, window: int = 32):
        super().__init__(capacity_bytes)
        if codec is None and model is None:
            raise Error("neither a codec nor a model; without a codec, `model` tells whose states "
                        "these are", Status.USAGE)
        self._codec = codec if codec is None or isinstance(codec, Codec) else Codec.load(codec)
        self._embeddings = embeddings or _embeddings_for(self._codec, model)
        self._model = "" if model is None else _identity(os.fspath(model))
        self._n_ctx, self._sinks, self._window = n_ctx, sinks, window
        if path is None:
            self._temporary = tempfile.TemporaryDirectory(
                prefix="kvsplice-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
            path = self._temporary.name
        self._folder = Path(path) / (self._codec.fingerprint if self._codec else self._model)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, _Conversation] = {}

    @property
    def cache_size(self) -> int:
        """Bytes of all sessions of this codec or model."""
        return sum(c.bytes for c in self._conversations())

    def __contains__(self, key: Sequence[int]) -> bool:
        return self._longest(_tokens(key))[1] > 0

    def __getitem__(self, key: Sequence[int]) -> LlamaState:
        """The state of the longest prefix, decoded when it is loaded; KeyError if there is none."""
        tokens = _tokens(key)
        conversation, shared = self._longest(tokens)
        if conversation is None:
            raise KeyError("no state has a prefix of these tokens")
        return cast(LlamaState, _Restored(self, conversation, tokens[:shared]))

    def __setitem__(self, key: Sequence[int], value: LlamaState) -> None:
        """Keeps the tokens that have been evaluated; `key` may have one more."""
        try:
            self._keep(value)
        except (Error, OSError) as e:
            warnings.warn(f"kvsplice.LlamaCache keeps no state: {e}", RuntimeWarning, stacklevel=2)
        self._make_room()

    def _keep(self, value: LlamaState) -> None:
        tokens = _tokens(value.input_ids[:value.n_tokens])
        state = unpack_state(value.llama_state, self._codec.layers if self._codec else None,
                             rotation=_rotation())
        if len(state) != len(tokens):
            raise Error(f"the state has {len(state)} cells for {len(tokens)} tokens",
                        Status.MISMATCH)
        conversation, shared = self._longest(tokens)
        if conversation is not None and shared == len(tokens):
            conversation.touch()
            return
        description = _Description.of(value, state)
        if conversation is not None and shared == len(conversation.tokens):
            self._extend(conversation, tokens, state)
        else:
            conversation = _Conversation(self._folder / f"{uuid.uuid4().hex}.kvz")
            description.write(conversation)  # before the session, which others may find at once
            self._pack(conversation, tokens, state)
        description.write(conversation)

    def _pack(self, to: "_Conversation", tokens: npt.NDArray[np.int32], state: State) -> None:
        layers = [] if self._codec else _layers_of(state)
        Session.pack(to.path, tokens, _halves(state.keys), _halves(state.values), self._codec,
                     self._embeddings, model=self._model, architecture=state.architecture,
                     layers=layers, absent=state.absent, sinks=self._sinks, window=self._window)

    def _extend(self, to: "_Conversation", tokens: npt.NDArray[np.int32], state: State) -> None:
        first = len(to.tokens)
        Session.extend(to.path, tokens[first:], _halves(state.keys, first),
                       _halves(state.values, first), self._codec, self._embeddings,
                       absent=max(0, state.absent - first), first=first)

    def _restore(self, conversation: "_Conversation", count: int) -> tuple[bytes, "_Description"]:
        """KeyError if it cannot be; nothing of the Llama has been touched then."""
        try:
            description = _Description.read(conversation)
            session = Session.open(conversation.path, self._codec, self._embeddings)
            state = description.state(session, count)
            conversation.touch()
            return pack_state(state, session.layers), description
        except (Error, OSError, ValueError, TypeError) as e:
            warnings.warn(f"kvsplice.LlamaCache restores no state: {e}", RuntimeWarning,
                          stacklevel=4)
            raise KeyError(str(e)) from e

    def _longest(self, tokens: npt.NDArray[np.int32]) -> tuple["_Conversation | None", int]:
        """Of the conversations that share the most tokens, one that has no others, if there is."""
        best: _Conversation | None = None
        most = 0
        for conversation in self._conversations():
            n = _shared(conversation.tokens, tokens)
            if n > most or (best is not None and n == most
                            and len(conversation.tokens) < len(best.tokens)):
                best, most = conversation, n
        return best, most

    def _conversations(self) -> list["_Conversation"]:
        """What is in the folder now, whoever wrote it."""
        found = {}
        for path in self._folder.glob("*.kvz"):
            known = self._known.get(path.name, _Conversation(path))
            if known.refresh(self._codec, self._embeddings):
                found[path.name] = known
        self._known = found
        return list(found.values())

    def _make_room(self) -> None:
        held = sorted(self._conversations(), key=lambda c: c.used)
        size = sum(c.bytes for c in held)
        for conversation in held:
            if size <= self.capacity_bytes:
                return
            size -= conversation.bytes
            conversation.delete()


@dataclasses.dataclass
class _Conversation:
    """A session file, and beside it what else llama-cpp-python wants to know of a state."""

    path: Path
    tokens: npt.NDArray[np.int32] = dataclasses.field(default_factory=lambda: np.empty(0, np.int32))
    bytes: int = 0
    used: int = 0
    _read: tuple[int, int] = (0, 0)

    @property
    def description(self) -> Path:
        return self.path.with_suffix(".json")

    def refresh(self, codec: Codec | None, embeddings: EmbeddingTable | None) -> bool:
        """Reads the tokens if the file has changed. False if it cannot be read."""
        try:
            there, beside = self.path.stat(), self.description.stat()
            self.bytes, self.used = there.st_size + beside.st_size, beside.st_mtime_ns
            changed = (there.st_mtime_ns, there.st_size)
            if changed != self._read:
                self.tokens = Session.open(self.path, codec, embeddings).tokens
                self._read = changed
        except (Error, OSError):
            return False
        return True

    def touch(self) -> None:
        os.utime(self.description)

    def delete(self) -> None:
        for path in (self.path, self.description):
            path.unlink(missing_ok=True)


@dataclasses.dataclass
class _Description:
    n_ctx: int
    seed: int
    architecture: str
    streams: int
    values_transposed: bool
    dtypes: list[str]  # of keys and of values
    quantised: list[bool]  # the same

    @classmethod
    def of(cls, value: LlamaState, state: State) -> "_Description":
        return cls(len(value.input_ids), int(value.seed), state.architecture, state.streams,
                   state.values_transposed, [state.keys[0].dtype.name, state.values[0].dtype.name],
                   list(state.quantised))

    @classmethod
    def read(cls, of: _Conversation) -> "_Description":
        return cls(**json.loads(of.description.read_text()))

    def write(self, to: _Conversation) -> None:
        partial = to.description.with_suffix(".partial")
        partial.write_text(json.dumps(dataclasses.asdict(self)))
        partial.replace(to.description)

    def state(self, session: Session, count: int) -> State:
        keys, _ = room(session.layers, count, self.dtypes[0])
        _, values = room(session.layers, count, self.dtypes[1])
        absent = session.read_into(0, keys, values)
        # llama-cpp-python may evaluate the last token again, whose window begins so far before it.
        for layer in session.layers:
            if 0 < layer.window and max(0, count - layer.window) < absent:
                raise Error(f"the window of the first {count} tokens is gone", Status.UNSUPPORTED)
        return State(keys, values, absent, form="context data", architecture=self.architecture,
                     streams=self.streams, values_transposed=self.values_transposed,
                     quantised=(self.quantised[0], self.quantised[1]), rotation=_rotation())


class _Restored:
    """What a LlamaState has; it is decoded when Llama.load_state asks for the scores, which it does
    first."""

    def __init__(self, cache: LlamaCache, conversation: _Conversation,
                 tokens: npt.NDArray[np.int32]):
        self._cache, self._conversation = cache, conversation
        self._loaded: tuple[bytes, _Description] | None = None
        self._tokens = tokens
        self.n_tokens = len(tokens)

    def _load(self) -> tuple[bytes, _Description]:
        if self._loaded is None:
            self._loaded = self._cache._restore(self._conversation, self.n_tokens)
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


def _tokens(key: Any) -> npt.NDArray[np.int32]:
    return np.array(key, dtype=np.int32)


def _halves(rows: Rows, first: int = 0) -> Rows:
    """Tokens from `first` on, as sessions keep them."""
    return [of[first:] if of.dtype == np.float16 else halves(of[first:]) for of in rows]


def _rotation() -> bool:
    """Whether llama.cpp turns the heads of q8_0 caches, which its states do not say."""
    return os.environ.get("LLAMA_ATTN_ROT_DISABLE", "0") in ("", "0")


def _shared(a: npt.NDArray[np.int32], b: npt.NDArray[np.int32]) -> int:
    """The length of the longest common prefix."""
    n = min(len(a), len(b))
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if len(differ) > 0 else n


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


def _layers_of(state: State) -> list[Layer]:
    """States do not say how many heads there are; nothing that is kept without a codec depends on
    it."""
    def heads(width: int) -> int:
        return next(n for n in range(1, width + 1) if width % n == 0 and width // n <= 256)

    layers = []
    for keys, values in zip(state.keys, state.values):
        n = max(heads(keys.shape[1]), heads(values.shape[1]))
        n = next(m for m in range(n, keys.shape[1] + 1)
                 if keys.shape[1] % m == 0 and values.shape[1] % m == 0)
        layers.append(Layer(n, keys.shape[1] // n, values.shape[1] // n))
    return layers
