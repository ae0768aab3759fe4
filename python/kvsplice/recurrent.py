"""What the recurrent layers of hybrid models hold in place of cells."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .errors import Error, Status

StateEncoding = Literal["exact", "f16", "q8"]
ENCODINGS: dict[str, int] = {"exact": 0, "f16": 1, "q8": 2}  # the library's numbers
# As the library has it: position, layers of the model, and rows: layer, part, whether of halves,
# bytes.
CoreState = tuple[int, int, list[tuple[int, int, bool, bytes]]]


@dataclasses.dataclass
class RecurrentState:
    """What all recurrent layers hold behind the first `position` tokens. It cannot be cut: text
    goes on only where there is one."""

    position: int
    model_layers: int
    """Of all kinds."""
    layers: list[int]
    """The recurrent ones, by their number in the model where it is known, else 0, 1, ..."""
    r: list[npt.NDArray[Any]]
    """What each one's convolution has seen: [values], float32 or float16."""
    s: list[npt.NDArray[Any]]
    """Each one's recurrence, the same."""


def from_core(state: CoreState) -> RecurrentState:
    position, model_layers, rows = state
    values = [np.frombuffer(data, np.float16 if halves else np.float32)
              for _, _, halves, data in rows]
    half = len(rows) // 2
    return RecurrentState(position, model_layers, [layer for layer, *_ in rows[:half]],
                          values[:half], values[half:])


def to_core(state: RecurrentState) -> CoreState:
    if not len(state.layers) == len(state.r) == len(state.s):
        raise Error(f"a recurrent state of {len(state.layers)} layers, {len(state.r)} rows r and "
                    f"{len(state.s)} rows s; legal: as many of each", Status.USAGE)
    rows = [(layer, part, flat(row)) for part, of in enumerate((state.r, state.s))
            for layer, row in zip(state.layers, of)]
    return state.position, state.model_layers, [
        (layer, part, bool(row.dtype == np.float16), row.tobytes()) for layer, part, row in rows]


def flat(row: npt.ArrayLike) -> npt.NDArray[Any]:
    values = np.ascontiguousarray(row).reshape(-1)
    if values.dtype not in (np.float32, np.float16):
        raise Error(f"a recurrent state of {values.dtype}; legal: float32, float16", Status.USAGE)
    return values


def encoding_number(encoding: str) -> int:
    if encoding not in ENCODINGS:
        raise Error(f"states as {encoding!r}; legal: {list(ENCODINGS)}", Status.USAGE)
    return ENCODINGS[encoding]


def all_to_core(states: Sequence[RecurrentState] | None) -> list[CoreState] | None:
    return None if states is None else [to_core(state) for state in states]
