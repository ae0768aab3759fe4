#!/usr/bin/env python3
"""A reader that shares no code with ours decodes calibrate's default codec, and others of the same stages,
from the pages alone: its rows are those of the program, and so are its integers."""

import os
import tempfile

import numpy as np

import kvz
from program import beyond_rounding, expect, read_state, run, source
from tiny_model import TinyModel

# Of a row's rms: how far rows may be from the program's, which computes in single precision.
MOST = 1e-5
# `layers` rounds what it reads to bytes. Where single precision rounds one the other way, a row differs by a step of a
# byte times a weight, and a little those that read it or recall it. That is rare.
BYTE, RARE = 0.02, 0.05
# The same stages with other parameters, unlike for keys and values. Fewer tokens recall than a block has.
UNLIKE = ("k: layers(history=2,embedding=off,rank=24) | fisher | focus(limit=2) "
          "| klt(scope=head,stored=packed) "
          "| step(delta=0.4,recall=200,recall_history=2,recall_width=0.8,recall_noise=0.25) | range ; "
          "v: layers(history=1) | focus | pca(rank=60) | step(delta=0.5)")
# What a real model's codec takes seconds for, but still all that `layers` and `focus` read.
QUICK = "layers(history=0) | focus | klt(stored=packed) | step(delta=0.6,recall=64) | range"


def texts():
    names = ("fiction", "code", "technical", "conversation")
    return [source("samples", f"{name}.txt") for name in names]


def least_change(codec, unit):
    """A bound from below on what one integer changes a row's rms by: the stages behind `step` shrink nothing
    more, on the way back, than this."""
    change = 1 / np.sqrt(sum(codec.shape.head_dims(*unit)))  # klt spreads a step over the unit's columns
    for name, params, state in codec.stages_of(unit):
        if name == "step":
            change *= float(state["step"].ravel()[0])
        if name == "focus" and state:
            change /= params["limit"]
        if name == "fisher" and state:
            change /= max(np.linalg.norm(matrix, 2) for matrix in kvz.stages.fisher_matrices(state))
    return change


def check_integers(codec, keys, values):
    """An integer that differed by one would change its own row by a step, whatever tokens recall (the factor
    of a token's own innovation is 1), which is far more than rows differ by. So rows that agree have the
    same integers. golden_reader_test.py compares integers themselves."""
    for kind, layer in codec.units:
        rows = (keys if kind == "k" else values)[layer].astype(np.float64)
        largest = np.sqrt((rows[~np.isnan(rows).any(1)] ** 2).mean(1)).max()
        change = least_change(codec, (kind, layer)) / largest
        expect(f"a step of {kind}.{layer} shows, {change} of a row", change > 10 * MOST)


def check(model, codec_path, tokens):
    """Packs a text and compares what is read of it with what the program unpacks."""
    packed, unpacked = codec_path + ".kvz", codec_path + ".state"
    run("pack", "-m", model, "-f", source("samples", "news.txt"), "-n", tokens, "--codec", codec_path,
        "--window", 8, "-o", packed)
    run("unpack", packed, "-m", model, "--codec", codec_path, "-o", unpacked)
    codec, session = kvz.Codec.open(codec_path, kvz.Embedding(model)), kvz.Session(packed)
    read, keys, values = session.cells(codec)
    wanted, state_keys, state_values = read_state(unpacked, session.windows)
    expect("the tokens of the state", read + session.pending == wanted and len(read) == tokens)
    expect("coded records", any(kind == 1 for kind, *_ in session.records))
    met = [beyond_rounding(ours, theirs) for ours, theirs in zip(keys + values, state_keys + state_values)]
    worst = max(some.max() for some in met)
    expect(f"rows within {BYTE} of their rms, met {worst}", worst <= BYTE)
    others = np.mean(np.concatenate(met) > MOST)
    expect(f"a share of {RARE} beyond {MOST} of their rms at most, met {others}", others <= RARE)
    check_integers(codec, keys, values)
    return codec


def has(codec, stage, array):
    """Of how many units the stage has learnt that."""
    return sum(name == stage and array in state for unit in codec.units
               for name, _, state in codec.stages_of(unit))


def check_generated(folder, architecture):
    model, rows = (os.path.join(folder, f"{architecture}.{end}") for end in ("gguf", "rows"))
    TinyModel(model, architecture)
    calibrate = ["calibrate", "-m", model, "-f", *texts(), "-n", 2048, "--sequence", 256, "--work", rows,
                 "--threads", 1]
    path = os.path.join(folder, f"{architecture}.codec")
    run(*calibrate, "-o", path)
    codec = check(model, path, 600)
    for stage, array in (("layers", "codes"), ("fisher", "codes"), ("klt", "codes"), ("range", "costs")):
        expect(f"{array} of {stage} in all units", has(codec, stage, array) == len(codec.units))
    expect("weights of focus", has(codec, "focus", "weights") > len(codec.units) / 2)

    path = os.path.join(folder, f"{architecture}.unlike")
    run(*calibrate, "--codec", UNLIKE, "-o", path)
    codec = check(model, path, 300)
    expect("directions of a prediction", has(codec, "layers", "up") > 0)
    if architecture == "llama":
        expect("tokens that recall others", has(codec, "step", "weights") > 0)


def check_real(folder, model):
    dump, path = os.path.join(folder, "dump.gguf"), os.path.join(folder, "real")
    run("extract", "-m", model, "-f", source("samples", "fiction.txt"), "-n", 400, "-o", dump)
    run("fit", dump, "-m", model, "--codec", QUICK, "-o", path)
    codec = check(model, path, 120)
    for stage, array in (("layers", "codes"), ("focus", "weights"), ("step", "weights")):
        expect(f"{array} of {stage}", has(codec, stage, array) > 0)


def main():
    with tempfile.TemporaryDirectory() as folder:
        check_generated(folder, "llama")
        check_generated(folder, "gemma3")
        check_real(folder, os.environ["KVSPLICE_TEST_MODEL"])


if __name__ == "__main__":
    main()
