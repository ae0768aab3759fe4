"""Rows of q8_0, as llama.cpp's caches hold them: blocks of 32 numbers, a scale and a code each.

llama.cpp turns heads by a Hadamard matrix before it rounds them; that is undone and done here.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import Error, Status

TYPE = 8  # ggml's number
VALUES = 32
BLOCK = np.dtype([("scale", "<f2"), ("codes", "i1", VALUES)])
MOST_HALF = float(np.finfo(np.float16).max)


def decode(blocks: npt.NDArray[Any], cells: int, side: int) -> npt.NDArray[np.float16]:
    """[cells, width]. side: of the matrix; 0: heads are not turned."""
    width = blocks.size // cells * VALUES
    with np.errstate(all="ignore"):  # scales may be anything
        rows = blocks["codes"] * blocks["scale"].astype(np.float32)[:, np.newaxis]
        return halves(turn(rows.reshape(cells, width), side))


def encode(rows: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """Blocks. As in llama.cpp's own, the largest number of each gets the code 127 or -127; the scale
    is the best for the codes, which of rows that were q8_0 is the one they had."""
    if rows.shape[1] % VALUES != 0:
        raise Error(f"q8_0 rows of {rows.shape[1]} numbers; legal: multiples of {VALUES}",
                    Status.USAGE)
    blocks = np.empty(rows.size // VALUES, BLOCK)
    with np.errstate(all="ignore"):
        values = turn(rows.astype(np.float32), side).reshape(-1, VALUES)
        step = np.abs(values).max(axis=1, keepdims=True) / 127
        codes = np.clip(np.rint(values / np.where(step > 0, step, 1)), -127, 127)
        power = (codes * codes).sum(axis=1)
        blocks["scale"] = (values * codes).sum(axis=1) / np.where(power > 0, power, 1)
    if not np.isfinite(blocks["scale"]).all():
        raise Error("rows that are no numbers, or too large for q8_0", Status.NUMERIC)
    blocks["codes"] = codes
    return blocks


def turn(rows: npt.NDArray[np.float32], side: int) -> npt.NDArray[np.float32]:
    """The Walsh-Hadamard transform of each `side` numbers, orthonormal and its own inverse."""
    if side == 0:
        return rows
    width = rows.shape[1]
    if side & (side - 1) != 0 or width % side != 0:
        raise Error(f"rows of {width} numbers are said to be turned by {side}; legal: 0, and "
                    f"powers of two that divide {width}", Status.FORMAT)
    x, half = rows, 1
    while half < side:
        pairs = x.reshape(-1, 2, half)
        x = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1)
        half *= 2
    made: npt.NDArray[np.float32] = x.reshape(rows.shape) * (1 / np.sqrt(np.float32(side)))
    return made


def halves(rows: npt.NDArray[Any]) -> npt.NDArray[np.float16]:
    """As float16; what is beyond it becomes its largest."""
    return np.clip(rows, -MOST_HALF, MOST_HALF).astype(np.float16)
