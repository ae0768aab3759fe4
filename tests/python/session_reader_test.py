#!/usr/bin/env python3
"""A reader that shares no code with ours reads what `kvsplice pack` writes: structure, exact cells and
cells behind a codec, compared with the llama.cpp state `kvsplice unpack` makes of the same session."""

import os
import struct
import tempfile

import kvz
from program import beyond_rounding, example_of_page, expect, read_state, run, source
from tiny_model import HybridModel

TOKENS = 40


def check(session_path, state_path, codec, most):
    session = kvz.Session(session_path)
    tokens, keys, values = session.cells(codec)
    wanted, state_keys, state_values = read_state(state_path, session.windows)
    expect("the tokens of the state", tokens + session.pending == wanted)
    expect(f"{TOKENS} tokens", session.tokens == TOKENS)
    for ours, theirs in zip(keys + values, state_keys + state_values):
        if most == 0:
            expect("cells to the bit", ours.tobytes() == theirs.tobytes())
            continue
        met = beyond_rounding(ours, theirs).max()
        expect(f"rows within {most} of their rms, met {met}", met <= most)
    return session


def check_example(path):
    with open(path, "wb") as file:
        file.write(example_of_page("format.md"))
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
    except (kvz.Damaged, StopIteration):
        return
    expect("a flipped bit is noticed", False)


def check_states(at):
    """Of a hybrid: what its session keeps of recurrent layers is what llama.cpp's state ends with."""
    HybridModel(at("hybrid.gguf"))
    run("pack", "-m", at("hybrid.gguf"), "-f", source("samples", "news.txt"), "-n", TOKENS,
        "--checkpoint", 16, "--lossless", "-o", at("hybrid.kvz"))
    session = kvz.Session(at("hybrid.kvz"))
    expect("format 2", session.format == 2)
    expect("states at each checkpoint and the end", [s[0] for s in session.states] == [16, 32, TOKENS])
    expect("cells of layers that attend", [layer[0] for layer in session.layers] == [2, 5])
    session.cells()
    for position in (16, TOKENS):
        run("unpack", at("hybrid.kvz"), "-m", at("hybrid.gguf"), "-n", position, "-o", at("hybrid.state"))
        layers, rows = session.state(position)
        expect("rows r and s of recurrent layers",
               [row[:2] for row in rows] == [(i, part) for part in "rs" for i in (0, 1, 3, 4)])
        end = struct.pack("<IiIII", 1, position - 1, 0, 0, layers)
        for *_, values in rows:
            end += struct.pack("<iQ", 0, values.nbytes) + values.tobytes()
        with open(at("hybrid.state"), "rb") as file:
            expect("the end of the state", file.read().endswith(end))


def main():
    expect("XXH64 of the empty string", kvz.xxh64(b"") == 0xEF46DB3751D8E999)
    model = os.environ["KVSPLICE_TEST_MODEL"]
    text = source("samples", "news.txt")
    with tempfile.TemporaryDirectory() as folder:
        at = lambda name: os.path.join(folder, name)
        check_example(at("example.kvz"))
        check_states(at)
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
        codec = kvz.Codec.open(at("codec.gguf"))
        # Floats are added in another order here.
        coded = check(at("coded.kvz"), at("coded.state"), codec, 1e-5)
        expect("both kinds of record", {r[0] for r in coded.records} == {1, 2})

        run("fit", at("dump.gguf"), "--codec", "exact(history=2) | range", "-o", at("bits.gguf"))
        run("pack", at("exact.state"), "-m", model, "--lossless", "--codec", at("bits.gguf"), "-o",
            at("bits.kvz"))
        bits = check(at("bits.kvz"), at("exact.state"), kvz.Codec.open(at("bits.gguf")), 0)
        expect("only coded records", {r[0] for r in bits.records} == {1})


if __name__ == "__main__":
    main()
