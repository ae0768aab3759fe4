"""Encodes rows and decodes them:  python block.py codec.gguf [model.gguf]

A codec to try: tests/golden/1/klt.gguf. With a model it needs the package gguf: pip install '.[gguf]'
"""
import sys

import numpy as np

import kvsplice

if len(sys.argv) < 2:
    sys.exit(__doc__)
codec = kvsplice.Codec.load(sys.argv[1])
if codec.embedding_dim > 0 and len(sys.argv) < 3:
    sys.exit("this codec reads the model's embeddings: name the model, too")
embeddings = kvsplice.Embeddings.from_gguf(sys.argv[2]) if codec.embedding_dim > 0 else None
tokens = positions = np.arange(64)
keys = [np.random.randn(64, of.kv_heads, of.key_dim).astype("f4") for of in codec.layers]
values = [np.random.randn(64, of.kv_heads, of.value_dim).astype("f4") for of in codec.layers]
data = codec.encode(tokens, positions, keys, values, "raw", embeddings)
keys, values = codec.decode(data, tokens, positions, "raw", embeddings)
print(f"64 tokens in {len(data)} bytes; first key: {keys[0][0, 0, :3]} ...")
