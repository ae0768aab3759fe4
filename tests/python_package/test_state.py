"""States of llama.cpp, made here by hand and by pack_state."""

import struct

import numpy as np
import pytest

import kvsplice

WIDTHS = [(32, 16), (32, 16), (8, 8)]
LAYERS = [kvsplice.Layer(2, key // 2, value // 2) for key, value in WIDTHS]


def some_rows(n, dtype=np.float16, seed=3):
    random = np.random.default_rng(seed)
    return ([random.standard_normal((n, key)).astype(dtype) for key, _ in WIDTHS],
            [random.standard_normal((n, value)).astype(dtype) for _, value in WIDTHS])


def context_data(positions, keys, values, transposed):
    """As llama_state_get_data writes it, from its source."""
    out = struct.pack("<I", 5) + b"llama" + struct.pack("<II", 1, len(positions))
    for position in positions:
        out += struct.pack("<iIi", position, 1, 0)
    out += struct.pack("<II", transposed, len(keys))
    for rows in keys:
        out += struct.pack("<iQ", 1, rows.shape[1] * 2) + rows.tobytes()
    for rows in values:
        if transposed:
            out += struct.pack("<iII", 1, 2, rows.shape[1]) + rows.T.tobytes()
        else:
            out += struct.pack("<iQ", 1, rows.shape[1] * 2) + rows.tobytes()
    return out


def expect_rows(state, keys, values):
    for met, wanted in zip(state.keys + state.values, keys + values):
        np.testing.assert_array_equal(met, wanted)


@pytest.mark.parametrize("transposed", [False, True])
def test_context_data(transposed):
    keys, values = some_rows(7)
    data = context_data(range(7), keys, values, transposed)
    state = kvsplice.unpack_state(data, LAYERS)
    assert (state.form, state.architecture, len(state)) == ("context data", "llama", 7)
    assert state.values_transposed == transposed
    expect_rows(state, keys, values)
    assert np.shares_memory(state.keys[0], np.frombuffer(data, np.uint8))
    assert kvsplice.pack_state(state, LAYERS) == data


def test_cells_in_any_order():
    keys, values = some_rows(5)
    order = [3, 0, 4, 1, 2]
    state = kvsplice.unpack_state(
        context_data(order, [k[order] for k in keys], [v[order] for v in values], True))
    expect_rows(state, keys, values)


@pytest.mark.parametrize("form", ["session file", "sequence file", "sequence data", "context data"])
@pytest.mark.parametrize("version", [10, 11])
@pytest.mark.parametrize("streams", [1, 3])
def test_forms_come_back(form, version, streams):
    keys, values = some_rows(6, np.float32)
    tokens = np.arange(6, dtype=np.int32)
    state = kvsplice.State(keys, values, tokens=tokens, form=form, architecture="llama",
                           version=version, streams=streams)
    met = kvsplice.unpack_state(kvsplice.pack_state(state), LAYERS, version)
    assert (met.form, met.version, met.streams) == (form, version, streams)
    if form.endswith("file"):
        assert met.tokens.tolist() == tokens.tolist()
    expect_rows(met, keys, values)


def test_windows_are_a_cache_of_their_own():
    layers = [LAYERS[0], LAYERS[1]._replace(window=4), LAYERS[2]]
    keys, values = some_rows(10)
    state = kvsplice.State(keys, values, architecture="gemma3", form="context data")
    met = kvsplice.unpack_state(kvsplice.pack_state(state, layers), layers)
    assert met.absent == 6
    for rows, wanted, layer in zip(met.keys + met.values, keys + values, layers + layers):
        first = 6 if layer.window else 0
        np.testing.assert_array_equal(rows[first:], wanted[first:])
        assert (rows[:first] == 0).all()
    with pytest.raises(kvsplice.Error, match="windows"):
        kvsplice.unpack_state(kvsplice.pack_state(state, layers))


def test_hostile_bytes_are_errors():
    keys, values = some_rows(4)
    data = context_data(range(4), keys, values, True)
    for n in range(len(data)):
        with pytest.raises(kvsplice.Error):
            kvsplice.unpack_state(data[:n], LAYERS)
    random = np.random.default_rng(4)
    for _ in range(300):
        broken = bytearray(data)
        broken[int(random.integers(120))] ^= 1 << int(random.integers(8))
        try:
            kvsplice.unpack_state(bytes(broken), LAYERS)
        except kvsplice.Error as e:
            assert str(e)


def test_other_models_and_types_are_refused():
    keys, values = some_rows(4)
    data = context_data(range(4), keys, values, False)
    for layers in (LAYERS[:2], LAYERS + LAYERS[:1], LAYERS[::-1]):
        with pytest.raises(kvsplice.Error) as caught:
            kvsplice.unpack_state(data, layers)
        assert caught.value.status == kvsplice.Status.MISMATCH
    at = 4 + 5 + 8 + 12 * 4 + 8
    quantised = data[:at] + struct.pack("<i", 2) + data[at + 4:]
    with pytest.raises(kvsplice.Error, match="type 2"):
        kvsplice.unpack_state(quantised, LAYERS)
    gap = context_data([0, 1, 3, 4], keys, values, False)
    with pytest.raises(kvsplice.Error, match="positions"):
        kvsplice.unpack_state(gap, LAYERS)
