"""Prompts of llama-cpp-python in a store, beside those of `kvsplice serve`."""

import dataclasses
import os
import weakref
from typing import Union

import llama_cpp
import numpy as np
import numpy.typing as npt
from llama_cpp.llama import Llama, LlamaState

from .codec import Codec, Layer
from .embeddings import EmbeddingTable
from .errors import Error, Status
from .llama_state import (Description, check_is_no_hybrid, halves_of, layers_of, rotation, shared,
                          tokens_of)
from .state import State, pack_state, unpack_state
from .store import Bank, Match, Store, model_fingerprint


class Stored:
    """Those of one codec or model, and of one tenant."""

    def __init__(self, store: Store, codec: Codec | None, embeddings: EmbeddingTable | None,
                 model: Union[str, "os.PathLike[str]", None], tenant: str):
        self._store, self._codec, self._embeddings = store, codec, embeddings
        self._model = "" if model is None else model_fingerprint(model)
        self._tenant = tenant
        self._prompt: npt.NDArray[np.int32] | None = None  # that was looked for last
        self._seen: _Kind | None = None  # the last
        self._kinds: weakref.WeakKeyDictionary[Llama, _Kind] = weakref.WeakKeyDictionary()
        if codec is not None:
            self._bank(("f16", "f16"), [])  # so that what cannot be is said at once

    @property
    def size(self) -> int:
        return self._store.bytes

    def find(self, tokens: npt.NDArray[np.int32], llm: Llama | None) -> "Found | None":
        self._prompt = tokens
        if llm is not None:
            self._seen = self._kind_of(llm)
        kind = self._seen
        if kind is None:
            return None
        bank = self._bank(kind.description.types, kind.layers)
        match = bank.find(tokens)
        return Found(bank, match, kind.description) if len(match) > 0 else None

    def keep(self, value: LlamaState, llm: Llama | None) -> None:
        if llm is not None:
            _check_cells_are_the_models(llm)
        tokens = tokens_of(value.input_ids[:value.n_tokens])
        state = self._unpack(value)
        if len(state) != len(tokens):
            raise Error(f"the state has {len(state)} cells for {len(tokens)} tokens",
                        Status.MISMATCH)
        self._seen = _Kind.of(value, state)
        bank = self._bank(self._seen.description.types, self._seen.layers)
        prompt = len(tokens) if self._prompt is None else shared(self._prompt, tokens)
        bank.keep(tokens, halves_of(state.keys), halves_of(state.values), prompt)

    def make_room(self, capacity_bytes: int) -> None:
        """The store does that itself."""

    def _unpack(self, value: LlamaState) -> State:
        state = unpack_state(value.llama_state, self._codec.layers if self._codec else None,
                             rotation=rotation())
        check_is_no_hybrid(state)
        return state

    def _bank(self, types: tuple[str, str], layers: list[Layer]) -> Bank:
        return self._store.bank(self._codec, self._embeddings, model=self._model,
                                layers=[] if self._codec else layers, key_type=types[0],
                                value_type=types[1], tenant=self._tenant)

    def _kind_of(self, llm: Llama) -> "_Kind":
        """Learnt from a state of its own, if need be of one token: what others have stored does not
        say what this context's states are like."""
        _check_cells_are_the_models(llm)
        known = self._kinds.get(llm)
        if known is None:
            empty = llm.n_tokens == 0
            if empty:
                llm.eval([0])
            value = llm.save_state()
            if empty:
                llm.reset()
            known = self._kinds[llm] = _Kind.of(value, self._unpack(value))
        return known


@dataclasses.dataclass
class _Kind:
    """What the states of a Llama are like."""

    description: Description
    layers: list[Layer]

    @classmethod
    def of(cls, value: LlamaState, state: State) -> "_Kind":
        return cls(Description.of(value, state), layers_of(state))


@dataclasses.dataclass
class Found:
    """A prefix that the store has."""

    bank: Bank
    match: Match
    description: Description

    @property
    def count(self) -> int:
        """Tokens."""
        return len(self.match)

    def load(self, tokens: npt.NDArray[np.int32]) -> tuple[bytes, Description]:
        """The state of these tokens, which are so many."""
        keys, values = self.bank.read(self.match, tokens)
        dtypes = self.description.dtypes
        state = self.description.state([rows.astype(dtypes[0], copy=False) for rows in keys],
                                       [rows.astype(dtypes[1], copy=False) for rows in values])
        return pack_state(state, self.bank.layers), self.description


def _check_cells_are_the_models(llm: Llama) -> None:
    """Others would take them for those of the model file."""
    params = llm.context_params
    unset = llama_cpp.LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED
    if llm.lora_path or params.rope_scaling_type != unset or params.rope_freq_base != 0 \
            or params.rope_freq_scale != 0:
        raise Error("a Llama with an adapter or with RoPE of its own; a store has cells of the "
                    "model as its file is", Status.UNSUPPORTED)
