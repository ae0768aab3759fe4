"""A generated hybrid model's states, from the program into this package's sessions, and back."""

import os
import subprocess
import sys

import numpy as np
import pytest

import kvsplice

if not os.path.exists(os.environ.get("KVSPLICE_BINARY", "")):
    pytest.skip("no program", allow_module_level=True)
pytest.importorskip("gguf")
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "python"))
from tiny_model import HybridModel  # noqa: E402

TOKENS = 40


def kvsplice_program(*arguments):
    subprocess.run([os.environ["KVSPLICE_BINARY"], *map(str, arguments)], check=True,
                   stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model, a codec, and a session and a state of some tokens."""
    folder = tmp_path_factory.mktemp("hybrid")
    text = os.path.join(os.path.dirname(__file__), "..", "..", "samples", "news.txt")
    model = folder / "m.gguf"
    HybridModel(str(model))
    kvsplice_program("extract", "-m", model, "-f", text, "-n", 96, "--no-queries", "-o",
                     folder / "dump.gguf")
    kvsplice_program("fit", folder / "dump.gguf", "--codec", "exact | range", "-o",
                     folder / "codec.gguf")
    kvsplice_program("pack", "-m", model, "-f", text, "-n", TOKENS, "--checkpoint", 16, "--lossless",
                     "--codec", folder / "codec.gguf", "-o", folder / "a.kvz")
    kvsplice_program("unpack", folder / "a.kvz", "-m", model, "--codec", folder / "codec.gguf", "-o",
                     folder / "a.state")
    return folder


def test_states_of_the_program_are_read(made):
    codec = kvsplice.Codec.load(made / "codec.gguf")
    session = kvsplice.Session.open(made / "a.kvz", codec)
    state = kvsplice.unpack_state((made / "a.state").read_bytes(), codec.layers,
                                  recurrent=codec.recurrent_layers)
    assert session.states == [16, 32, TOKENS] and codec.recurrent_layers == [0, 1, 3, 4]
    met = session.state(TOKENS)
    assert met.layers == state.recurrent.layers and met.position == state.recurrent.position
    for a, b in zip(met.r + met.s, state.recurrent.r + state.recurrent.s):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("with_codec", [True, False])
def test_sessions_of_the_package_become_the_same_state(made, tmp_path, with_codec):
    data = (made / "a.state").read_bytes()
    codec = kvsplice.Codec.load(made / "codec.gguf")
    state = kvsplice.unpack_state(data, codec.layers, recurrent=codec.recurrent_layers)
    assert kvsplice.pack_state(state, codec.layers) == data
    extra = {} if with_codec else {"model": codec.model, "layers": codec.layers,
                                        "layer_numbers": codec.layer_numbers}
    kvsplice.Session.pack(tmp_path / "b.kvz", state.tokens, state.keys, state.values,
                          codec if with_codec else None, states=[state.recurrent], **extra)
    kvsplice_program("unpack", tmp_path / "b.kvz", "-m", made / "m.gguf",
                     *(["--codec", made / "codec.gguf"] if with_codec else []), "-o",
                     tmp_path / "b.state")
    assert (tmp_path / "b.state").read_bytes() == data
