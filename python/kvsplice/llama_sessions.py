"""Prompts of llama-cpp-python as session files in a folder, one for each conversation."""

import dataclasses
import json
import os
import uuid
from pathlib import Path

import numpy as np
import numpy.typing as npt
from llama_cpp.llama import Llama, LlamaState

from .codec import Codec, room
from .embeddings import EmbeddingTable
from .errors import Error, Status
from .llama_state import (Description, check_is_no_hybrid, halves_of, layers_of, rotation, shared,
                          tokens_of)
from .session import Session
from .state import State, pack_state, unpack_state


class Sessions:
    """Those of one codec or model. A conversation that goes on is extended."""

    def __init__(self, folder: Path, codec: Codec | None, embeddings: EmbeddingTable | None,
                 model: str, sinks: int, window: int):
        """model: what tells it from others; a folder of that name, or the codec's, is used."""
        self._codec, self._embeddings, self._model = codec, embeddings, model
        self._sinks, self._window = sinks, window
        self.folder = folder / (codec.fingerprint if codec else model)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, _Conversation] = {}

    @property
    def size(self) -> int:
        return sum(c.bytes for c in self._conversations())

    def find(self, tokens: npt.NDArray[np.int32], llm: Llama | None) -> "Found | None":
        conversation, count = self._longest(tokens)
        return Found(self, conversation, count) if conversation else None

    def keep(self, value: LlamaState, llm: Llama | None) -> None:
        tokens = tokens_of(value.input_ids[:value.n_tokens])
        state = unpack_state(value.llama_state, self._codec.layers if self._codec else None,
                             rotation=rotation())
        check_is_no_hybrid(state)
        if len(state) != len(tokens):
            raise Error(f"the state has {len(state)} cells for {len(tokens)} tokens",
                        Status.MISMATCH)
        conversation, count = self._longest(tokens)
        if conversation is not None and count == len(tokens):
            conversation.touch()
            return
        description = Description.of(value, state)
        if conversation is not None and count == len(conversation.tokens):
            self._extend(conversation, tokens, state)
        else:
            conversation = _Conversation(self.folder / f"{uuid.uuid4().hex}.kvz")
            conversation.write(description)  # before the session, which others may find at once
            self._pack(conversation, tokens, state)
        conversation.write(description)

    def make_room(self, capacity_bytes: int) -> None:
        held = sorted(self._conversations(), key=lambda c: c.used)
        size = sum(c.bytes for c in held)
        for conversation in held:
            if size <= capacity_bytes:
                return
            size -= conversation.bytes
            conversation.delete()

    def restore(self, conversation: "_Conversation", count: int) -> tuple[bytes, Description]:
        description = conversation.read()
        session = Session.open(conversation.path, self._codec, self._embeddings)
        keys, _ = room(session.layers, count, description.dtypes[0])
        _, values = room(session.layers, count, description.dtypes[1])
        absent = session.read_into(0, keys, values)
        # llama-cpp-python may evaluate the last token again, whose window begins so far before it.
        for layer in session.layers:
            if 0 < layer.window and max(0, count - layer.window) < absent:
                raise Error(f"the window of the first {count} tokens is gone", Status.UNSUPPORTED)
        conversation.touch()
        return pack_state(description.state(keys, values, absent), session.layers), description

    def _pack(self, to: "_Conversation", tokens: npt.NDArray[np.int32], state: State) -> None:
        layers = [] if self._codec else layers_of(state)
        Session.pack(to.path, tokens, halves_of(state.keys), halves_of(state.values), self._codec,
                     self._embeddings, model=self._model, architecture=state.architecture,
                     layers=layers, absent=state.absent, sinks=self._sinks, window=self._window)

    def _extend(self, to: "_Conversation", tokens: npt.NDArray[np.int32], state: State) -> None:
        first = len(to.tokens)
        Session.extend(to.path, tokens[first:], halves_of(state.keys, first),
                       halves_of(state.values, first), self._codec, self._embeddings,
                       absent=max(0, state.absent - first), first=first)

    def _longest(self, tokens: npt.NDArray[np.int32]) -> tuple["_Conversation | None", int]:
        """Of the conversations that share the most tokens, one that has no others, if there is."""
        best: _Conversation | None = None
        most = 0
        for conversation in self._conversations():
            n = shared(conversation.tokens, tokens)
            if n > most or (best is not None and n == most
                            and len(conversation.tokens) < len(best.tokens)):
                best, most = conversation, n
        return best, most

    def _conversations(self) -> list["_Conversation"]:
        """What is in the folder now, whoever wrote it."""
        found = {}
        for path in self.folder.glob("*.kvz"):
            known = self._known.get(path.name, _Conversation(path))
            if known.refresh(self._codec, self._embeddings):
                found[path.name] = known
        self._known = found
        return list(found.values())


@dataclasses.dataclass
class Found:
    """A prefix that a session has."""

    sessions: Sessions
    conversation: "_Conversation"
    count: int
    """Tokens."""

    def load(self, tokens: npt.NDArray[np.int32]) -> tuple[bytes, Description]:
        """The state of these tokens, which are so many."""
        return self.sessions.restore(self.conversation, len(tokens))


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

    def read(self) -> Description:
        return Description(**json.loads(self.description.read_text()))

    def write(self, description: Description) -> None:
        partial = self.description.with_suffix(".partial")
        partial.write_text(json.dumps(dataclasses.asdict(description)))
        partial.replace(self.description)

    def touch(self) -> None:
        os.utime(self.description)

    def delete(self) -> None:
        for path in (self.path, self.description):
            path.unlink(missing_ok=True)
