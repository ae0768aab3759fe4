"""Token embeddings, which some codecs read."""

import os
from typing import Any, Protocol, Union

import numpy as np
import numpy.typing as npt

from .errors import Error, Status


class EmbeddingTable(Protocol):
    """What codecs may be given: rows of a model's embedding table, each divided by its root mean
    square."""

    @property
    def dim(self) -> int:
        """Numbers of a row."""
        ...

    def rows(self, tokens: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """[n, dim] for tokens [n]. Called from threads of the library's, one at a time."""
        ...


class Embeddings:
    """An embedding table of any element type that stays where it is; rows are normalised when they
    are asked for."""

    def __init__(self, table: npt.NDArray[Any]):
        """table: [vocabulary, dim]."""
        self._table = table
        self._type: Any = None
        self.dim = int(table.shape[1])

    @classmethod
    def from_gguf(cls, path: Union[str, "os.PathLike[str]"]) -> "Embeddings":
        """Those of a GGUF model. Needs the package `gguf`."""
        gguf = import_gguf()
        tensors = gguf.GGUFReader(os.fspath(path)).tensors
        for tensor in tensors:
            if tensor.name == "token_embd.weight":
                made = cls(tensor.data)
                made._type = tensor.tensor_type
                made.dim = int(tensor.shape[0])
                return made
        raise Error(f"{os.fspath(path)} has no token_embd.weight; of a split model, name the file "
                    "that has it", Status.UNSUPPORTED)

    def rows(self, tokens: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """[n, dim] for tokens [n]."""
        size = len(self._table)
        if len(tokens) > 0 and not (0 <= tokens.min() and tokens.max() < size):
            raise Error(f"tokens {tokens.min()} ... {tokens.max()}; legal: 0 ... {size - 1}",
                        Status.USAGE)
        table = self._table[tokens]
        if self._type is not None:
            table = import_gguf().quants.dequantize(table, self._type)
        rows: npt.NDArray[np.float32] = np.array(table, dtype=np.float32)
        square = np.mean(np.square(rows, dtype=np.float64), axis=1, keepdims=True)
        rows *= (1 / np.sqrt(square + 1e-8)).astype(np.float32)
        return rows


def import_gguf() -> Any:
    try:
        import gguf
        import gguf.quants
    except ImportError as e:
        raise ImportError("this needs the package gguf: pip install 'kvsplice[gguf]'") from e
    return gguf
