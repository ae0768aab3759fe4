"""The program and what it writes, for tests of readers that share no code with it."""

import os
import struct
import subprocess
import sys

import numpy as np

import kvz


def run(*arguments):
    subprocess.run([os.environ["KVSPLICE_BINARY"], *map(str, arguments)], check=True,
                   stdout=subprocess.DEVNULL)


def source(*path):
    return os.path.join(os.environ["KVSPLICE_SOURCE_DIR"], *path)


def expect(what, condition):
    if not condition:
        sys.exit(f"not so: {what}")


def example_of_page(name):
    """The bytes of a worked example in docs/: lines of an offset, bytes and words."""
    with open(source("docs", name), encoding="utf-8") as file:
        lines = file.read().split("# Worked example\n")[1].split("\n## ")[0].splitlines()
    made = b""
    for line in (line for line in lines if line.startswith("    ")):
        offset, *numbers = line[4:].partition("   ")[0].split()
        expect(f"offset {offset}", int(offset, 16) == len(made))
        made += bytes(int(n, 16) for n in numbers)
    return made


def read_state(path, windows):
    """Tokens and cells of llama.cpp's sequence file, f16, keys and values of each layer: [cells x width], not
    numbers where a layer's window has passed the cell. windows: of the layers, 0 for none."""
    with open(path, "rb") as file:
        data = kvz.Bytes(file.read())
    u32 = lambda: struct.unpack("<I", data.take(4))[0]
    magic, version, count = u32(), u32(), u32()
    expect("a sequence file of version 3", (magic, version) == (0x67677371, 3))
    tokens = list(struct.unpack(f"<{count}i", data.take(4 * count)))
    found = {}
    # Layers with a window have a cache of their own, behind the others'.
    for slides in sorted({window > 0 for window in windows}):
        layers = [i for i, window in enumerate(windows) if (window > 0) == slides]
        streams, cells = u32(), u32()
        expect("one stream", streams == 1)
        positions = [struct.unpack("<iIi", data.take(12))[0] for _ in range(cells)]
        expect("the newest positions", positions == list(range(count - cells, count)))
        expect("values as rows, all layers", (u32(), u32()) == (0, len(layers)))
        for kind, layer in [(kind, layer) for kind in "kv" for layer in layers]:
            number_type, row = struct.unpack("<iQ", data.take(12))
            expect("f16 cells", number_type == 1)
            part = np.frombuffer(data.take(cells * row), np.float16).reshape(cells, -1)
            absent = np.full((count - cells, part.shape[1]), np.nan, np.float16)
            found[kind, layer] = np.concatenate([absent, part])
    expect("nothing behind the state", data.left() == 0)
    return tokens, *([found[kind, i] for i in range(len(windows))] for kind in "kv")


def beyond_rounding(ours, theirs):
    """How far `ours` is from anything that rounds to the halves of `theirs`: of each row that theirs has, the
    rms of what is left of the difference over the rms of the row."""
    there = ~np.isnan(theirs).any(1)
    ours, theirs = ours[there], theirs[there]
    # Of cells that are as small as half precision has them, too. The gap below a power of two is half this.
    rounding = np.spacing(np.abs(theirs)).astype(np.float64) / 2
    theirs = theirs.astype(np.float64)
    excess = np.maximum(0, np.abs(ours.astype(np.float64) - theirs) - rounding)
    return np.sqrt((excess ** 2).mean(1) / (theirs ** 2).mean(1))
