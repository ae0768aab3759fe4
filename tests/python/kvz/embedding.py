"""Rows of a model's token embedding, as `layers` reads them (src/codec/predict/layers/spec.md)."""

import gguf
import numpy as np


class Embedding:
    def __init__(self, path):
        self.table = next(t for t in gguf.GGUFReader(path).tensors if t.name == "token_embd.weight")

    def __call__(self, tokens):
        rows = gguf.quants.dequantize(self.table.data[np.array(tokens)], self.table.tensor_type)
        rows = rows.astype(np.float64)
        return rows / np.sqrt((rows ** 2).mean(1, keepdims=True) + 1e-8)
