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


def recurrent_part(position, names_sequence, rows, model_layers=6):
    """As llama_memory_recurrent writes it, from its source."""
    out = struct.pack("<IiI", 1, position, names_sequence)
    if names_sequence:
        out += struct.pack("<i", 0)
    out += struct.pack("<II", 0, model_layers)
    for row in rows:
        out += struct.pack("<iQ", row.dtype == np.float16, row.nbytes) + row.tobytes()
    return out


def some_recurrent_rows():
    random = np.random.default_rng(9)
    sizes = [(6, np.float32), (9, np.float16), (40, np.float32), (0, np.float32)]
    return [random.standard_normal(n).astype(dtype) for n, dtype in sizes]


def test_recurrent_layers_of_hybrids_come_back():
    keys, values = some_rows(7)
    rows = some_recurrent_rows()
    data = context_data(range(7), keys, values, False) + recurrent_part(6, True, rows)
    for layers in (LAYERS, None):
        state = kvsplice.unpack_state(data, layers)
        expect_rows(state, keys, values)
        held = state.recurrent
        assert (held.position, held.model_layers, held.layers) == (7, 6, [0, 1])
        for met, wanted in zip(held.r + held.s, rows):
            assert met.dtype == wanted.dtype
            np.testing.assert_array_equal(met, wanted)
        assert kvsplice.pack_state(state, layers) == data
    state = kvsplice.unpack_state(data, LAYERS, recurrent=[1, 4])
    assert state.recurrent.layers == [1, 4]
    state.form = "sequence data"
    assert kvsplice.pack_state(state).endswith(recurrent_part(6, False, rows))
    assert kvsplice.unpack_state(kvsplice.pack_state(state)).recurrent.position == 7
    with pytest.raises(kvsplice.Error, match="2 recurrent layers, the model 3") as caught:
        kvsplice.unpack_state(data, LAYERS, recurrent=[1, 4, 5])
    assert caught.value.status == kvsplice.Status.MISMATCH
    with pytest.raises(kvsplice.Error, match="0 recurrent layers, the model 1"):
        kvsplice.unpack_state(context_data(range(7), keys, values, False), recurrent=[1])


def test_what_is_behind_the_caches_is_not_passed_over():
    keys, values = some_rows(7)
    data = context_data(range(7), keys, values, False)
    part = recurrent_part(6, True, some_recurrent_rows())
    for behind, words in ((b"\1\2\3", "3 bytes behind the caches"),
                          (part + b"\0", "bytes behind the caches"),
                          (recurrent_part(5, True, some_recurrent_rows()), "have seen 6 tokens"),
                          (recurrent_part(6, True, some_recurrent_rows()[:3]), "two rows a layer"),
                          (struct.pack("<I", 2) + part[4:], "2 cells"),
                          (struct.pack("<Iii", 1, 6, 7) + part[12:], "of 7 sequences")):
        with pytest.raises(kvsplice.Error, match=words):
            kvsplice.unpack_state(data + behind, LAYERS)
    for n in range(1, len(part)):  # how many layers there are is not told by the bytes
        with pytest.raises(kvsplice.Error):
            kvsplice.unpack_state(data + part[:n], LAYERS, recurrent=[1, 4])
    random = np.random.default_rng(4)
    for _ in range(300):
        broken = bytearray(part)
        broken[int(random.integers(40))] ^= 1 << int(random.integers(8))
        try:
            kvsplice.unpack_state(data + bytes(broken), LAYERS)
        except kvsplice.Error as e:
            assert str(e)


def test_a_recurrent_state_of_other_numbers_is_refused():
    keys, values = some_rows(7)
    rows = [np.zeros(3), np.zeros(4)]
    state = kvsplice.State(keys, values, recurrent=kvsplice.RecurrentState(7, 4, [1], rows[:1],
                                                                          rows[1:]))
    with pytest.raises(kvsplice.Error, match="float64; legal: float32, float16"):
        kvsplice.pack_state(state)
