#!/usr/bin/env python3
"""A reader that shares no code with ours decodes the golden files (tests/golden/README.md), which are of
every stage: to the same integers, to the same rows, and cells of `exact` to the bit."""

import pathlib
import struct

import numpy as np

import kvz
from program import beyond_rounding, expect, source

MOST = 1e-5  # of a unit's rms: rows are of floats that are added in another order


def read_golden(path):
    data, arrays = kvz.Bytes(path.read_bytes()), {}
    number = lambda: struct.unpack("<I", data.take(4))[0]
    while data.left():
        name, kind = (data.take(number()).decode() for _ in range(2))
        rows, columns = number(), number()
        bytes_there = data.take(rows * columns * np.dtype(kind).itemsize)
        arrays[name] = np.frombuffer(bytes_there, kind).reshape(rows, columns)
    return arrays


def name_of(unit):
    kind, layer = unit
    return f"{kind}.{'all' if layer is None else layer}"


def check_rows(case, codec, made, golden):
    for (kind, layer), rows in made.items():
        wanted = golden[f"rows.{kind}.{layer}"]
        if rows is None:
            expect(f"{case}: no rows of {kind}.{layer}", len(wanted) == 0)
            continue
        expect(f"{case}: shape of {kind}.{layer}", rows.shape == wanted.shape)
        if wanted.size == 0:  # attention takes values from the keys
            continue
        if codec.of_cells:
            expect(f"{case}: cells of {kind}.{layer}", np.array_equal(rows, wanted))
            continue
        met = np.sqrt(((rows - wanted) ** 2).mean() / (wanted.astype(np.float64) ** 2).mean())
        expect(f"{case}: rows of {kind}.{layer} within {MOST}, met {met}", met <= MOST)


def check_block(case, codec, golden):
    tokens, positions = (golden[name].ravel().astype(np.int64) for name in ("tokens", "positions"))
    made = codec.rows(golden["block"].tobytes(), tokens, positions)
    check_rows(case, codec, made, golden)
    wanted = {name[6:] for name in golden if name.startswith("codes.")}
    expect(f"{case}: units with integers", {name_of(unit) for unit in codec.codes} == wanted)
    for unit, codes in codec.codes.items():
        name = name_of(unit)
        expect(f"{case}: integers of {name}", np.array_equal(codes, golden["codes." + name]))


def check_session(case, codec, path, golden):
    session = kvz.Session(path)
    tokens, keys, values = session.cells(codec)
    expect(f"{case}: tokens", tokens == golden["tokens"].ravel().tolist()[:len(tokens)])
    expect(f"{case}: pending tokens", session.pending == golden["pending"].ravel().tolist())
    for kind, layers in (("k", keys), ("v", values)):
        for layer, rows in enumerate(layers):
            wanted = golden[f"cells.{kind}.{layer}"].view(np.float16).copy()
            if session.windows[layer]:
                wanted[:golden["absent"][0, 0]] = np.nan
            if session.codec and not codec.of_cells:
                there = ~np.isnan(wanted).any(1)
                met = beyond_rounding(rows, wanted).max() if wanted.size else 0
                expect(f"{case}: rows of {kind}.{layer} are there", not np.isnan(rows[there]).any())
                expect(f"{case}: cells of {kind}.{layer} within {MOST}, met {met}", met <= MOST)
            else:
                expect(f"{case}: cells of {kind}.{layer}", np.array_equal(rows, wanted, equal_nan=True))


def check_states(case, path, golden):
    """Of hybrids: all numbers to the bit."""
    session = kvz.Session(path)
    listed = golden["states"] if "states" in golden else np.zeros((0, 2), int)
    expect(f"{case}: where states are", [seen for seen, *_ in session.states] == listed[:, 0].tolist())
    met = set()
    for seen, model_layers in listed.tolist():
        layers, rows = session.state(seen)
        expect(f"{case}: layers of the model", layers == model_layers)
        for layer, part, values in rows:
            halves = values.dtype == np.float16
            name = f"{'halves' if halves else 'state'}.{seen}.{layer}.{part}"
            wanted = golden[name].ravel().view(values.dtype)
            expect(f"{case}: {name}", np.array_equal(values, wanted))
            met.add(name)
    expect(f"{case}: all rows of states",
           met == {name for name in golden if name.split(".")[0] in ("state", "halves")})


def check(path):
    golden, case, codec = read_golden(path), path.stem, None
    if path.with_suffix(".gguf").exists():
        codec = kvz.Codec.open(path.with_suffix(".gguf"), lambda tokens: rows_of(golden, tokens))
        check_block(case, codec, golden)
    check_session(case, codec, path.with_suffix(".kvz"), golden)
    check_states(case, path.with_suffix(".kvz"), golden)
    return set() if codec is None else {name for kind in "kv" for name, _ in codec.pipelines[kind]}


def rows_of(golden, tokens):
    """Embedding rows of tokens, each the same wherever it stands."""
    where = {int(token): i for i, token in enumerate(golden["tokens"].ravel())}
    return golden["embeddings"][[where[int(token)] for token in tokens]].astype(np.float64)


def main():
    files = sorted(pathlib.Path(source("tests", "golden")).glob("*/*.golden"))
    expect("golden files", len(files) >= 40)
    met = set().union(*(check(path) for path in files))
    known = {*kvz.stages.STAGES, "range"}
    expect(f"every stage, but not {known - met}", met == known)


if __name__ == "__main__":
    main()
