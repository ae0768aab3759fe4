"""What llama-cpp-python's states are of, for whoever keeps and restores them."""

import dataclasses
import os
from typing import Any

import numpy as np
import numpy.typing as npt
from llama_cpp.llama import LlamaState

from .codec import Layer, Rows
from .errors import Error, Status
from .q8_0 import halves
from .state import State

TYPE_NAMES = {"float16": "f16", "float32": "f32"}  # llama.cpp's


@dataclasses.dataclass
class Description:
    """What else llama-cpp-python wants to know of a state than its tokens and rows."""

    n_ctx: int
    seed: int
    architecture: str
    streams: int
    values_transposed: bool
    dtypes: list[str]  # of keys and of values
    quantised: list[bool]  # the same

    @classmethod
    def of(cls, value: LlamaState, state: State) -> "Description":
        return cls(len(value.input_ids), int(value.seed), state.architecture, state.streams,
                   state.values_transposed, [state.keys[0].dtype.name, state.values[0].dtype.name],
                   list(state.quantised))

    @property
    def types(self) -> tuple[str, str]:
        """Of the cache's keys and values, as llama.cpp names them."""
        names = ["q8_0" if quantised else TYPE_NAMES[dtype]
                 for dtype, quantised in zip(self.dtypes, self.quantised)]
        return names[0], names[1]

    def state(self, keys: Rows, values: Rows, absent: int = 0) -> State:
        return State(keys, values, absent, form="context data", architecture=self.architecture,
                     streams=self.streams, values_transposed=self.values_transposed,
                     quantised=(self.quantised[0], self.quantised[1]), rotation=rotation())


def check_is_no_hybrid(state: State) -> None:
    """A cache of prompts brings back prefixes of any length; a hybrid goes on only where its
    recurrent layers were kept."""
    if state.recurrent is not None:
        raise Error("a hybrid model, whose recurrent layers hold a state that a cache of prompts "
                    "cannot cut; Session.pack keeps it", Status.UNSUPPORTED)


def tokens_of(key: Any) -> npt.NDArray[np.int32]:
    return np.array(key, dtype=np.int32)


def halves_of(rows: Rows, first: int = 0) -> Rows:
    """Tokens from `first` on, as they are kept."""
    return [of[first:] if of.dtype == np.float16 else halves(of[first:]) for of in rows]


def rotation() -> bool:
    """Whether llama.cpp turns the heads of q8_0 caches, which its states do not say."""
    return os.environ.get("LLAMA_ATTN_ROT_DISABLE", "0") in ("", "0")


def shared(a: npt.NDArray[np.int32], b: npt.NDArray[np.int32]) -> int:
    """The length of the longest common prefix."""
    n = min(len(a), len(b))
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if len(differ) > 0 else n


def layers_of(state: State) -> list[Layer]:
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
