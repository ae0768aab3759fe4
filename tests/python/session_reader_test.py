#!/usr/bin/env python3
"""A reader that shares no code with ours reads what `kvsplice pack` writes: structure, exact cells and
cells behind a codec, compared with the llama.cpp state `kvsplice unpack` makes of the same session."""

import os
import struct
import subprocess
import sys
import tempfile

import numpy as np

import kvz

TOKENS = 40


def run(*arguments):
    subprocess.run([os.environ["KVSPLICE_BINARY"], *map(str, arguments)], check=True,
                   stdout=subprocess.DEVNULL)


def expect(what, condition):
    if not condition:
        sys.exit(f"not so: {what}")


def read_state(path, layers):
    """Tokens and cells of llama.cpp's sequence file, f16."""
    with open(path, "rb") as file:
        data = kvz.Bytes(file.read())
    u32 = lambda: struct.unpack("<I", data.take(4))[0]
    magic, version, count = u32(), u32(), u32()
    expect("a sequence file of version 3", (magic, version) == (0x67677371, 3))
    tokens = list(struct.unpack(f"<{count}i", data.take(4 * count)))
    streams, cells = u32(), u32()
    expect("one stream", streams == 1)
    positions = [struct.unpack("<iIi", data.take(12))[0] for _ in range(cells)]
    expect("positions in order", positions == list(range(cells)))
    expect("values as rows, all layers", (u32(), u32()) == (0, len(layers)))
    parts = []
    for _ in range(2 * len(layers)):
        kind, row = struct.unpack("<iQ", data.take(12))
        expect("f16 cells", kind == 1)
        parts.append(np.frombuffer(data.take(cells * row), np.float16).reshape(cells, -1))
    expect("nothing behind the state", not data.rest())
    return tokens, parts[:len(layers)], parts[len(layers):]


def difference(a, b):
    """rms of the difference over rms."""
    a, b = (np.concatenate([x.astype(np.float64).ravel() for x in parts]) for parts in (a, b))
    return np.sqrt(((a - b) ** 2).mean() / (b ** 2).mean())


def check(session_path, state_path, codec, most):
    session = kvz.Session(session_path)
    tokens, keys, values = session.cells(codec)
    wanted, state_keys, state_values = read_state(state_path, session.layers)
    expect("the tokens of the state", tokens + session.pending == wanted)
    expect(f"{TOKENS} tokens", session.tokens == TOKENS)
    for ours, theirs in ((keys, state_keys), (values, state_values)):
        expect(f"cells within {most}, met {difference(ours, theirs)}",
               difference(ours, theirs) <= most)
    return session


def bytes_of_page():
    """The worked example of docs/format.md: lines of an offset, bytes and words."""
    page = os.path.join(os.environ["KVSPLICE_SOURCE_DIR"], "docs", "format.md")
    with open(page, encoding="utf-8") as file:
        lines = file.read().split("## Worked example")[1].splitlines()
    made = b""
    for line in (line for line in lines if line.startswith("    ")):
        offset, *numbers = line[4:].partition("   ")[0].split()
        expect(f"offset {offset}", int(offset, 16) == len(made))
        made += bytes(int(n, 16) for n in numbers)
    return made


def check_example(path):
    with open(path, "wb") as file:
        file.write(bytes_of_page())
    session = kvz.Session(path)
    expect("a lossless session", session.codec == "" and session.model_name == "tiny")
    expect("one pending token", session.pending == [7])
    tokens, keys, values = session.cells()
    expect("tokens of the example", tokens == [1, 300])
    expect("keys of the example", keys[0].tolist() == [[1, 2], [3, -0.5]])
    expect("values of the example", values[0].tolist() == [[0.25], [-8]])


def check_damage(path):
    with open(path, "rb") as file:
        data = bytearray(file.read())
    data[-1000] ^= 4
    with open(path, "wb") as file:
        file.write(data)
    try:
        kvz.Session(path).cells()
    except (ValueError, StopIteration):
        return
    sys.exit("a flipped bit went unnoticed")


def main():
    expect("XXH64 of the empty string", kvz.xxh64(b"") == 0xEF46DB3751D8E999)
    model = os.environ["KVSPLICE_TEST_MODEL"]
    text = os.path.join(os.environ["KVSPLICE_SOURCE_DIR"], "samples", "news.txt")
    with tempfile.TemporaryDirectory() as folder:
        at = lambda name: os.path.join(folder, name)
        check_example(at("example.kvz"))
        run("pack", "-m", model, "-f", text, "-n", TOKENS, "--lossless", "-o", at("exact.kvz"))
        run("unpack", at("exact.kvz"), "-m", model, "-o", at("exact.state"))
        exact = check(at("exact.kvz"), at("exact.state"), None, 0)
        expect("only exact records", {r[0] for r in exact.records} == {2})
        check_damage(at("exact.kvz"))

        run("extract", "-m", model, "-f", text, "-n", 600, "--no-queries", "-o", at("dump.gguf"))
        run("fit", at("dump.gguf"), "--codec", "klt | step(delta=0.5) | range", "-o",
            at("codec.gguf"))
        run("pack", "-m", model, "-f", text, "-n", TOKENS, "--codec", at("codec.gguf"), "--window", 8,
            "-o", at("coded.kvz"))
        run("unpack", at("coded.kvz"), "-m", model, "--codec", at("codec.gguf"), "-o",
            at("coded.state"))
        codec = kvz.Codec(at("codec.gguf"))
        # Floats are added in another order here.
        coded = check(at("coded.kvz"), at("coded.state"), codec, 1e-3)
        expect("both kinds of record", {r[0] for r in coded.records} == {1, 2})

        run("fit", at("dump.gguf"), "--codec", "exact(history=2) | range", "-o", at("bits.gguf"))
        run("pack", at("exact.state"), "-m", model, "--lossless", "--codec", at("bits.gguf"), "-o",
            at("bits.kvz"))
        bits = check(at("bits.kvz"), at("exact.state"), kvz.Codec(at("bits.gguf")), 0)
        expect("only coded records", {r[0] for r in bits.records} == {1})


if __name__ == "__main__":
    main()
