#!/usr/bin/env python3
"""docs/codecs.md on blocks: its worked example, and its values of parameters that a text does not give."""

import os
import re
import subprocess

import numpy as np

import kvz
from program import example_of_page, expect, source


def tiny_codec():
    """That of the worked example."""
    shape = kvz.Shape({"model.kv_heads": [1], "model.window": [0], "model.key_dim": [2],
                       "model.value_dim": [1], "model.rope.pairs": [0], "model.rope.halves": [0],
                       "model.rope.magnitude": [1.0], "model.rope.frequency": []})
    arrays = {"k.0.0.mean": np.float32([1, -1]), "k.0.0.basis.0": np.float32([[0.6, 0.8], [0.8, -0.6]]),
              "k.0.1.step": np.float32([0.5]), "k.0.1.least": np.float16([1, 1])}
    return kvz.Codec("k: klt | step ; v: uniform(bits=4,block=8)", shape, arrays)


def check_example():
    block = example_of_page("codecs.md")
    (keys, values), = tiny_codec().decode(block, [1, 2, 3], np.arange(3))
    expect("keys of the example", np.allclose(keys, [[1.6, -0.2], [0.3, -1.1], [1.9, 0.2]]))
    expect("values of the example", values.ravel().tolist() == [-1.75, 7, 3.5])
    for damaged in (block + b"\0", block[:-1] + b"\x47", block[:-1]):
        try:
            tiny_codec().decode(damaged, [1, 2, 3], np.arange(3))
        except kvz.Damaged:
            continue
        expect(f"{damaged.hex()} is refused", False)


def values_of_page():
    """{(stage, parameter): value} of the table."""
    with open(source("docs", "codecs.md"), encoding="utf-8") as file:
        section = file.read().split("## What a decoder reads of the text\n")[1].split("\n## ")[0]
    found, stage = {}, None
    for cells in re.findall(r"^\|(.*?)\| `(\w+)` \| (.*) \|$", section, re.M):
        stage = cells[0].strip(" `") or stage
        found[(stage, cells[1])] = cells[2]
    return found


def values_of_program():
    """{(stage, parameter): value} of what `fit --help` lists."""
    text = subprocess.run([os.environ["KVSPLICE_BINARY"], "fit", "--help"], check=True,
                          capture_output=True, text=True).stdout.split("Stages, joined by")[1]
    found, stage = {}, None
    for line in text.splitlines():
        if head := re.match(r"  (\w+)(?: \(also \w+\))?: ", line):
            stage = head[1]
        elif line.startswith("      "):
            for name in kvz.stages.DEFAULTS.get(stage, {}):
                if re.match(rf"      {name}(?!_)", line):
                    usual = re.search(r"; default (\S+)\)$", line)
                    found[(stage, name)] = usual[1] if usual else "none"
    return found


def check_defaults():
    page = values_of_page()
    text = lambda value: "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    reader = {(stage, name): text(value) for stage, params in kvz.stages.DEFAULTS.items()
              for name, value in params.items()}
    expect(f"the reader's values are those of the page, {reader.items() ^ page.items()}", reader == page)
    program = values_of_program()
    expect(f"the program's values are those of the page, {program.items() ^ page.items()}", program == page)


if __name__ == "__main__":
    check_example()
    check_defaults()
