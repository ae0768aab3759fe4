"""Dumps: keys, values and queries of texts, as `kvsplice extract` writes them."""

import dataclasses
import os
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from .embeddings import import_gguf
from .errors import Error, Status

Signal = dict[int, npt.NDArray[np.float16]]


@dataclasses.dataclass
class Dump:
    """The arrays lie in the file. Each signal has an array [tokens, heads, dim] for each layer that
    is there, by the layer's number."""

    model: str
    """The fingerprint of the model."""
    text_tokens: list[int]
    """How many tokens each text has; texts follow each other."""
    tokens: npt.NDArray[np.int32]
    """[tokens]"""
    positions: npt.NDArray[np.int32]
    """[tokens]; they start at 0 with each text."""
    raw_keys: Signal
    """Before rotary embedding."""
    keys: Signal
    """As the cache holds them."""
    values: Signal
    queries: Signal
    """After rotary embedding; empty if they were left out."""


def read_dump(path: Union[str, "os.PathLike[str]"]) -> Dump:
    """Reads dump.gguf. Needs the package `gguf`."""
    reader = import_gguf().GGUFReader(os.fspath(path))
    if _field(reader, "kvsplice.kind") != "dump":
        raise Error(f"{os.fspath(path)} is no dump", Status.FORMAT)
    tensors = {t.name: t for t in reader.tensors}
    count = int(tensors["tokens"].data.size)
    return Dump(
        model=_field(reader, "kvsplice.model.fingerprint"),
        text_tokens=[int(n) for n in _field(reader, "kvsplice.dump.text.tokens")],
        tokens=tensors["tokens"].data.reshape(count),
        positions=tensors["positions"].data.reshape(count),
        raw_keys=_signal(tensors, "k_pre", count),
        keys=_signal(tensors, "k", count),
        values=_signal(tensors, "v", count),
        queries=_signal(tensors, "q", count),
    )


def _field(reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()


def _signal(tensors: dict[str, Any], signal: str, count: int) -> Signal:
    layers = sorted(int(name.split(".")[1]) for name in tensors if name.startswith(signal + "."))
    return {layer: _rows(tensors[f"{signal}.{layer}"], count) for layer in layers}


def _rows(tensor: Any, count: int) -> npt.NDArray[np.float16]:
    """GGUF drops dimensions of 1 on the outside, the number of tokens among them."""
    dims = [int(n) for n in tensor.shape] + [1, 1]
    rows: npt.NDArray[np.float16] = tensor.data.reshape(count, dims[1], dims[0])
    return rows
