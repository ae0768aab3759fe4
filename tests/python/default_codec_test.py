#!/usr/bin/env python3
"""A reader that shares no code with ours decodes calibrate's default codec, and one that has its parameters
otherwise, from the pages alone: its rows are those of the program, and so are its integers."""

import os
import tempfile

import numpy as np

import kvz
from program import beyond_rounding, expect, read_state, run, source

TOKENS = 260
# Of a row's rms: how far rows may be from the program's, which adds floats of single precision in another order.
MOST = 1e-4
OTHER = ("k: layers(history=2,embedding=off,rank=48) | fisher | focus(limit=2) | klt(scope=head,stored=packed) "
         "| step(delta=0.4,recall=48,recall_history=2,recall_width=1) | range ; "
         "v: layers(history=1) | focus | klt(rank=160) | step(delta=0.5) | range")


def calibrate(model, folder, codec, *arguments):
    texts = [source("samples", f"{name}.txt") for name in ("fiction", "code", "technical", "conversation")]
    run("calibrate", "-m", model, "-f", *texts, "-n", 2048, "--sequence", 128, "--work",
        os.path.join(folder, "rows"), "-o", codec, *arguments)


def least_change(codec, unit):
    """A bound from below on how much a row's rms changes with one of its integers: the stages behind `step`, on
    the way back, shrink nothing more than this."""
    gain = 1 / np.sqrt(sum(codec.shape.head_dims(*unit)))  # klt turns, so that one step is shared by all columns
    for name, params, state in codec.stages_of(unit):
        if name == "step":
            gain *= float(state["step"].ravel()[0])
        if name == "focus" and state:
            gain /= params["limit"]
        if name == "fisher" and state:
            gain /= max(np.linalg.norm(matrix, 2) for matrix in kvz.stages.fisher_matrices(state))
    return gain


def check_integers(codec, keys, values):
    """Rows within MOST have the same integers: one that differed by 1 would change its row by far more. (Recall adds
    a token's innovation to its own row by a factor of 1 and to later rows of the group besides.)"""
    for kind, layer in codec.units:
        rows = (keys if kind == "k" else values)[layer].astype(np.float64)
        rms = np.sqrt((rows ** 2).mean(1))
        least = least_change(codec, (kind, layer)) / rms.max()
        print(kind, layer, "least change", least)
        expect(f"integers of {kind}.{layer} are told apart at {least}", least > 10 * MOST)


def check(model, folder, name, codec_path):
    at = lambda end: os.path.join(folder, name + end)
    run("pack", "-m", model, "-f", source("samples", "news.txt"), "-n", TOKENS, "--codec", codec_path,
        "--window", 4, "-o", at(".kvz"))
    run("unpack", at(".kvz"), "-m", model, "--codec", codec_path, "-o", at(".state"))
    codec = kvz.Codec.open(codec_path, kvz.Embedding(model))
    session = kvz.Session(at(".kvz"))
    tokens, keys, values = session.cells(codec)
    wanted, state_keys, state_values = read_state(at(".state"), len(session.layers))
    expect("the tokens of the state", tokens + session.pending == wanted)
    expect("coded records", any(kind == 1 for kind, *_ in session.records))
    worst = max(beyond_rounding(ours, theirs).max()
                for ours, theirs in zip(keys + values, state_keys + state_values))
    print(name, "worst", worst)
    expect(f"{name}: rows within {MOST} of their rms, met {worst}", worst <= MOST)
    check_integers(codec, keys, values)
    return codec


def states_of(codec, stage, array):
    """How many units have what the stage has learnt."""
    return sum(name == stage and array in state for unit in codec.units
               for name, _, state in codec.stages_of(unit))


def main():
    model = os.environ["KVSPLICE_TEST_MODEL"]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "default.gguf")
        calibrate(model, folder, path)
        codec = check(model, folder, "default", path)
        units = len(codec.units)
        for stage, array in (("layers", "codes"), ("focus", "weights"), ("fisher", "codes"),
                             ("klt", "codes"), ("step", "weights"), ("range", "costs")):
            met = states_of(codec, stage, array)
            print(stage, met, units)
            expect(f"most units have {array} of {stage}, met {met} of {units}", met > 0.9 * units)

        path = os.path.join(folder, "other.gguf")
        calibrate(model, folder, path, "--codec", OTHER)
        codec = check(model, folder, "other", path)
        expect("directions of a prediction", states_of(codec, "layers", "up") > 0)


if __name__ == "__main__":
    main()
