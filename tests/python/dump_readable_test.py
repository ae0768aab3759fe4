#!/usr/bin/env python3
"""A dump is a GGUF file: the `gguf` package reads what `kvsplice extract` writes."""

import os
import subprocess
import sys
import tempfile

import gguf
import numpy as np

LAYERS, HEADS, DIM, TOKENS = 3, 2, 16, 40


def text(reader, key):
    return bytes(reader.fields[key].parts[-1]).decode()


def texts(reader, key):
    field = reader.fields[key]
    return [bytes(field.parts[i]).decode() for i in field.data]


def numbers(reader, key):
    field = reader.fields[key]
    return [field.parts[i][0].item() for i in field.data]


def expect(name, met, wanted):
    if met != wanted:
        sys.exit(f"{name} is {met!r}, {wanted!r} was expected")


def check_metadata(reader):
    expect("general.architecture", text(reader, "general.architecture"), "kvsplice")
    expect("kvsplice.kind", text(reader, "kvsplice.kind"), "dump")
    expect("signals", texts(reader, "kvsplice.dump.signals"), ["k_pre", "k", "v"])
    expect("layers", numbers(reader, "kvsplice.dump.layers"), list(range(LAYERS)))
    expect("heads", numbers(reader, "kvsplice.dump.heads"), list(range(HEADS)))
    expect("text lengths", numbers(reader, "kvsplice.dump.text.tokens"), [TOKENS])
    expect("synthetic", numbers(reader, "kvsplice.dump.synthetic"), [True])
    expect("key_dim", numbers(reader, "kvsplice.model.key_dim"), [DIM] * LAYERS)
    expect("query_heads", numbers(reader, "kvsplice.model.query_heads"), [HEADS])
    expect("fingerprint length", len(text(reader, "kvsplice.model.fingerprint")), 32)


def check_tensors(reader):
    tensors = {t.name: t for t in reader.tensors}
    signals = [f"{s}.{i}" for i in range(LAYERS) for s in ("k_pre", "k", "v")]
    expect("tensors", sorted(tensors), sorted(["tokens", "positions", *signals]))
    for name in signals:
        data = tensors[name].data
        expect(f"shape of {name}", data.shape, (TOKENS, HEADS, DIM))
        expect(f"type of {name}", data.dtype, np.float16)
        values = data.astype(np.float32)
        if not np.isfinite(values).all() or not 0.1 < values.std() < 2:
            sys.exit(f"{name} has values of standard deviation {values.std()}")
    expect("positions", tensors["positions"].data.tolist(), list(range(TOKENS)))
    for i in range(LAYERS):
        same = np.array_equal(tensors[f"k.{i}"].data, tensors[f"k_pre.{i}"].data)
        expect(f"keys of layer {i} equal those before rotation", same, True)


def main():
    with tempfile.TemporaryDirectory() as folder:
        dump = os.path.join(folder, "dump.gguf")
        command = [os.environ["KVSPLICE_BINARY"], "extract", "--synthetic", "-o", dump]
        sizes = {"-n": TOKENS, "--synthetic-layers": LAYERS, "--synthetic-heads": HEADS,
                 "--synthetic-dim": DIM, "--seed": 5}
        for option, value in sizes.items():
            command += [option, str(value)]
        subprocess.run(command, check=True)
        reader = gguf.GGUFReader(dump)
        check_metadata(reader)
        check_tensors(reader)


if __name__ == "__main__":
    main()
