"""The golden files, as tests/golden/README.md describes them."""

import struct
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parents[1] / "golden" / "1"


class Golden:
    def __init__(self, name, folder=FOLDER):
        self.name = name
        self.arrays = read_arrays((folder / f"{name}.golden").read_bytes())
        self.tokens = self.arrays["tokens"].ravel() if "tokens" in self.arrays else None
        self.positions = self.arrays["positions"].ravel() if "positions" in self.arrays else None
        self.codec = folder / f"{name}.gguf"
        self.session = folder / f"{name}.kvz"

    @property
    def embeddings(self):
        rows = self.arrays.get("embeddings")
        return None if rows is None else Table(self.tokens, rows)

    def units(self, what, kind):
        """By layer, those that are there."""
        layers = sorted(int(name[len(what) + 3:]) for name in self.arrays
                        if name.startswith(f"{what}.{kind}."))
        return {layer: self.arrays[f"{what}.{kind}.{layer}"] for layer in layers}


class Table:
    """Embeddings of the tokens of a golden file."""

    def __init__(self, tokens, rows):
        self.dim = rows.shape[1]
        self.by_token = {int(token): row for token, row in zip(tokens, rows)}

    def rows(self, tokens):
        return np.stack([self.by_token[int(token)] for token in tokens])


def read_arrays(data):
    arrays, at = {}, 0

    def text():
        nonlocal at
        size, = struct.unpack_from("<I", data, at)
        at += 4 + size
        return data[at - size:at].decode()

    while at < len(data):
        name, kind = text(), text()
        rows, cols = struct.unpack_from("<II", data, at)
        at += 8
        arrays[name] = np.frombuffer(data, kind, rows * cols, at).reshape(rows, cols)
        at += arrays[name].nbytes
    return arrays


def rms(rows):
    return np.sqrt(np.mean(np.square(rows, dtype=np.float64)))
