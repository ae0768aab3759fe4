"""States of q8_0 caches, made here from formulas."""

import struct
import warnings

import numpy as np
import pytest

import kvsplice

# Layers, and the sides of the matrices by which llama.cpp turns their keys and values.
SHAPES = {
    "wide heads": ([kvsplice.Layer(2, 128, 192)] * 2, (128, 64)),
    "heads of 64": ([kvsplice.Layer(3, 64, 64)] * 2, (64, 64)),
    "narrow heads": ([kvsplice.Layer(2, 32, 96)] * 2, (0, 0)),
    "unlike heads": ([kvsplice.Layer(1, 64, 64), kvsplice.Layer(2, 128, 64)], (0, 64)),
}
BLOCK = np.dtype([("scale", "<f2"), ("codes", "i1", 32)])


def some_rows(layers, n, seed=3):
    random = np.random.default_rng(seed)
    return ([random.standard_normal((n, of.kv_heads * of.key_dim)) for of in layers],
            [random.standard_normal((n, of.kv_heads * of.value_dim)) for of in layers])


def turned(rows, side):
    matrix = np.ones((1, 1))
    while len(matrix) < side:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return (rows.reshape(-1, max(side, 1)) @ matrix / np.sqrt(len(matrix))).reshape(rows.shape)


def quantised(rows, side):
    blocks = np.empty(rows.size // 32, BLOCK)
    for block, values in zip(blocks, turned(rows, side).reshape(-1, 32)):
        scale = np.abs(values).max() / 127
        block["scale"], block["codes"] = scale, np.round(values / scale)
    return blocks


def numbers_of(blocks, shape, side):
    rows = [float(block["scale"]) * block["codes"].astype(float) for block in blocks]
    return turned(np.reshape(rows, shape), side)


def context_data(coded, n, sides=None):
    """As llama_state_get_data writes it, from its source. sides: of version 11, which says them."""
    out = struct.pack("<I", 5) + b"llama" + struct.pack("<II", 1, n)
    for position in range(n):
        out += struct.pack("<iIi", position, 1, 0)
    out += struct.pack("<II", 0, len(coded) // 2)
    if sides is not None:
        out += struct.pack("<II", *sides)
    for blocks in coded:
        out += struct.pack("<iQ", 8, blocks.nbytes // n) + blocks.tobytes()
    return out


def some_state(shape, n=7, version=10, sides=None):
    """Layers, bytes, what they should be unpacked to, and the blocks."""
    layers, usual = SHAPES[shape]
    sides = usual if sides is None else sides
    rows, coded, wanted = some_rows(layers, n), [], []
    for side, of_kind in zip(sides, rows):
        for of_layer in of_kind:
            coded.append(quantised(of_layer, side))
            wanted.append(numbers_of(coded[-1], of_layer.shape, side))
    return layers, context_data(coded, n, sides if version == 11 else None), wanted, coded


def expect_rows(state, wanted):
    for met, numbers in zip(state.keys + state.values, wanted, strict=True):
        assert met.dtype == np.float16
        np.testing.assert_allclose(met, numbers, rtol=2**-10, atol=1e-5)


@pytest.mark.parametrize("version", [10, 11])
@pytest.mark.parametrize("shape", SHAPES)
def test_heads_are_turned_back(shape, version):
    layers, data, wanted, coded = some_state(shape, version=version)
    state = kvsplice.unpack_state(data, layers, version)
    assert state.quantised == (True, True)
    expect_rows(state, wanted)

    packed = kvsplice.pack_state(state, layers)
    assert len(packed) == len(data)
    at = len(data)
    for blocks in reversed(coded):
        again = np.frombuffer(packed, BLOCK, len(blocks), at - blocks.nbytes)
        np.testing.assert_array_equal(again["codes"], blocks["codes"])
        np.testing.assert_allclose(again["scale"], blocks["scale"], rtol=2**-9)
        at -= blocks.nbytes + 12
        assert packed[at:at + 12] == data[at:at + 12]
    assert packed[:at] == data[:at]


def test_whether_heads_are_turned_is_told_or_written():
    layers, data, wanted, _ = some_state("wide heads", sides=(0, 0))
    state = kvsplice.unpack_state(data, rotation=False)
    expect_rows(state, wanted)
    assert len(kvsplice.pack_state(state)) == len(data)
    for sides in ((0, 0), (128, 64)):
        _, data, wanted, _ = some_state("wide heads", version=11, sides=sides)
        state = kvsplice.unpack_state(data, version=11)
        expect_rows(state, wanted)
        assert state.rotation == any(sides)
        head = 17 + 7 * 12 + 8 + 8  # up to these two numbers
        assert kvsplice.pack_state(state, layers)[:head] == data[:head]


def test_keys_alone_and_windows():
    layers = [kvsplice.Layer(2, 64, 32), kvsplice.Layer(2, 64, 32, 4)]
    keys, values = some_rows(layers, 10)
    state = kvsplice.State([k.astype(np.float16) for k in keys],
                           [v.astype(np.float16) for v in values], values_transposed=True,
                           quantised=(True, False))
    met = kvsplice.unpack_state(kvsplice.pack_state(state, layers), layers)
    assert met.quantised == (True, False) and met.rotation and met.absent == 6
    for i, first in enumerate((0, 6)):
        np.testing.assert_array_equal(met.values[i][first:], state.values[i][first:])
        apart = met.keys[i][first:] - keys[i][first:]
        assert 1e-4 < np.sqrt(np.mean(apart**2)) < 0.01


def test_hostile_bytes_are_errors():
    layers, data, _, _ = some_state("heads of 64", n=2, version=11)
    random = np.random.default_rng(4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in range(len(data)):
            with pytest.raises(kvsplice.Error):
                kvsplice.unpack_state(data[:n], layers, 11)
        for _ in range(1000):
            broken = bytearray(data)
            broken[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
            try:
                kvsplice.unpack_state(bytes(broken), layers, 11)
            except kvsplice.Error as e:
                assert str(e)


def refusal(call):
    with pytest.raises(kvsplice.Error) as caught:
        call()
    return caught.value


def test_what_cannot_be_read_or_written():
    layers, data, _, _ = some_state("heads of 64", n=2)
    assert "layers are wanted" in str(refusal(lambda: kvsplice.unpack_state(data)))
    at = 9 + 8 + 24 + 8
    odd = data[:at] + struct.pack("<iQ", 8, 35) + data[at + 12:]
    assert "legal: multiples of 34" in str(refusal(lambda: kvsplice.unpack_state(odd, layers)))
    for side in (3, 384, 1 << 31):
        data = some_state("heads of 64", n=2, version=11)[1]
        data = data[:at] + struct.pack("<I", side) + data[at + 4:]
        assert "powers of two that divide 192" in str(
            refusal(lambda: kvsplice.unpack_state(data, layers, 11)))

    keys, values = ([rows.astype(np.float16) for rows in of] for of in some_rows(layers, 2))

    def pack(layers=layers, quantised=(True, True), **more):
        return refusal(lambda: kvsplice.pack_state(
            kvsplice.State(**{"keys": keys, "values": values, "quantised": quantised, **more}),
            layers))

    assert "layers are wanted" in str(pack(layers=None))
    assert "flash attention" in str(pack(values_transposed=True))
    assert "multiples of 32" in str(pack(layers=None, keys=[k[:, :33] for k in keys],
                                         rotation=False))
    for number in (np.nan, np.inf):
        broken = [k.copy() for k in keys]
        broken[1][1, 5] = number
        assert pack(keys=broken).status == kvsplice.Status.NUMERIC
