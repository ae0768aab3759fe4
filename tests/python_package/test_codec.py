"""Blocks of golden codecs, and rows of every layout."""

import threading

import numpy as np
import pytest

import kvsplice
from golden import FOLDER, Golden, rms

NAMES = sorted(path.stem for path in FOLDER.glob("*.gguf"))


def open_codec(name):
    golden = Golden(name)
    return golden, kvsplice.Codec.load(golden.codec)


@pytest.mark.parametrize("name", NAMES)
def test_golden_blocks_decode(name):
    golden, codec = open_codec(name)
    space = "cached" if codec.is_lossless else "raw"
    block = golden.arrays["block"].tobytes()
    decoded = codec.decode(block, golden.tokens, golden.positions, space, golden.embeddings)
    checked = 0
    for kind, rows in zip("kv", decoded):
        for layer, wanted in golden.units("rows", kind).items():
            met = rows[layer].reshape(len(golden.tokens), -1)
            if len(wanted) == 0:  # the block lacks the layer, whose window is shorter
                assert codec.layers[layer].window > 0 and (met == 0).all()
                continue
            if codec.is_lossless:
                np.testing.assert_array_equal(met, wanted)
            else:
                assert np.abs(met - wanted).max() <= 1e-5 * rms(wanted)
            checked += 1
    assert checked > 0


def some_rows(codec, n, dtype=np.float32, seed=1):
    random = np.random.default_rng(seed)
    keys = [random.standard_normal((n, of.kv_heads, of.key_dim)).astype(dtype)
            for of in codec.layers]
    values = [random.standard_normal((n, of.kv_heads, of.value_dim)).astype(dtype)
              for of in codec.layers]
    return keys, values


def test_what_a_codec_says_of_itself():
    _, codec = open_codec("default")
    assert len(codec.layers) == 3 and all(of.window == 0 for of in codec.layers)
    assert "focus" in codec.pipeline and "layers" in codec.pipeline
    assert len(codec.fingerprint) == 32
    assert codec.block_tokens > 0
    assert not codec.is_lossless
    assert open_codec("exact-range")[1].is_lossless


def test_bytes_are_as_good_as_a_path():
    golden, codec = open_codec("default")
    assert kvsplice.Codec.load(golden.codec.read_bytes()).fingerprint == codec.fingerprint


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_lossless_rows_come_back_to_the_bit(dtype):
    golden, codec = open_codec("exact-range")
    keys, values = some_rows(codec, len(golden.tokens), np.float16)
    data = codec.encode(golden.tokens, golden.positions, keys, values)
    met = codec.decode(data, golden.tokens, golden.positions, dtype=dtype)
    for rows, wanted in zip(met[0] + met[1], keys + values):
        assert rows.dtype == dtype and rows.shape == wanted.shape
        np.testing.assert_array_equal(rows, wanted)


LAYOUTS = {
    "flat": lambda rows: rows.reshape(len(rows), -1),
    "reversed tokens": lambda rows: rows[::-1].copy()[::-1],
    "every second token": lambda rows: np.repeat(rows, 2, axis=0)[::2],
    "transposed": lambda rows: np.ascontiguousarray(rows.reshape(len(rows), -1).T).T,
    "heads first": lambda rows: np.ascontiguousarray(rows.transpose(1, 0, 2)).transpose(1, 0, 2),
    "read only": lambda rows: np.frombuffer(rows.tobytes(), rows.dtype).reshape(rows.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_encode_to_the_same_bytes(layout):
    golden, codec = open_codec("f16-range")
    keys, values = some_rows(codec, len(golden.tokens))
    wanted = codec.encode(golden.tokens, golden.positions, keys, values)
    arrange = LAYOUTS[layout]
    met = codec.encode(golden.tokens, golden.positions, [arrange(k) for k in keys],
                       [arrange(v) for v in values])
    assert met == wanted


def test_rows_decode_into_slices():
    golden, codec = open_codec("f16-range")
    n = len(golden.tokens)
    keys, values = some_rows(codec, n)
    data = codec.encode(golden.tokens, golden.positions, keys, values)
    wanted = codec.decode(data, golden.tokens, golden.positions)
    rooms = [[np.full((n + 2, *rows.shape[1:]), 7, np.float32) for rows in side] for side in wanted]
    codec.decode_into(data, golden.tokens, golden.positions, [r[1:-1] for r in rooms[0]],
                      [r[1:-1] for r in rooms[1]])
    for room, rows in zip(rooms[0] + rooms[1], wanted[0] + wanted[1]):
        np.testing.assert_array_equal(room[1:-1], rows)
        assert (room[0] == 7).all() and (room[-1] == 7).all()


def test_embeddings_that_fail_say_why():
    golden, codec = open_codec("default")

    class Broken:
        dim = codec.embedding_dim

        def rows(self, tokens):
            raise LookupError("no table here")

    if codec.embedding_dim == 0:
        pytest.skip("the golden codec reads no embeddings")
    with pytest.raises(LookupError, match="no table here"):
        codec.decode(golden.arrays["block"].tobytes(), golden.tokens, golden.positions, "raw",
                     Broken())
    Broken.rows = lambda self, tokens: np.zeros((len(tokens), 3), np.float32)
    with pytest.raises(kvsplice.Error, match="is wanted"):
        codec.decode(golden.arrays["block"].tobytes(), golden.tokens, golden.positions, "raw",
                     Broken())


def status_of(call):
    with pytest.raises(kvsplice.Error) as caught:
        call()
    return caught.value.status


def test_errors_have_a_status(tmp_path):
    golden, codec = open_codec("f16-range")
    n = len(golden.tokens)
    keys, values = some_rows(codec, n)
    data = codec.encode(golden.tokens, golden.positions, keys, values)
    status = kvsplice.Status
    assert status_of(lambda: kvsplice.Codec.load(tmp_path / "none")) == status.IO
    assert status_of(lambda: kvsplice.Codec.load(b"no codec")) == status.FORMAT
    assert status_of(lambda: codec.decode(data[:-3], golden.tokens, golden.positions)) in (
        status.FORMAT, status.MISMATCH)

    def encode(keys=keys, values=values, tokens=golden.tokens, **more):
        return status_of(lambda: codec.encode(tokens, golden.positions, keys, values, **more))

    assert encode(keys=keys[:-1]) == status.USAGE
    assert encode(keys=[k[:-1] for k in keys]) == status.USAGE
    assert encode(keys=[k.astype(np.float64) for k in keys]) == status.USAGE
    assert encode(keys=[None for _ in keys]) == status.USAGE
    assert encode(tokens=golden.tokens[:-1]) == status.USAGE
    assert encode(tokens=golden.tokens * 1.0) == status.USAGE
    assert encode(tokens=golden.tokens.astype(np.int64) + (1 << 40)) == status.USAGE
    assert encode(space="cooked") == status.USAGE
    rooms = [np.zeros((of.kv_heads, n, of.key_dim), np.float32).transpose(1, 0, 2)
             for of in codec.layers]
    assert status_of(lambda: codec.decode_into(data, golden.tokens, golden.positions, rooms,
                                               values)) == status.USAGE


def test_several_threads_use_one_codec():
    golden, codec = open_codec("default")
    block, met = golden.arrays["block"].tobytes(), []

    def decode():
        met.append(codec.decode(block, golden.tokens, golden.positions, "raw", golden.embeddings))

    threads = [threading.Thread(target=decode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(met) == 4
    for keys, values in met:
        for rows, wanted in zip(keys + values, met[0][0] + met[0][1]):
            np.testing.assert_array_equal(rows, wanted)


def test_dlpack_is_enough():
    golden, codec = open_codec("f16-range")
    keys, values = some_rows(codec, len(golden.tokens))

    class Lent:
        """Has rows, and is no array of NumPy's."""

        def __init__(self, rows):
            self.held = rows

        def __dlpack__(self, **options):
            return self.held.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.held.__dlpack_device__()

    wanted = codec.encode(golden.tokens, golden.positions, keys, values)
    met = codec.encode(golden.tokens, golden.positions, [Lent(k) for k in keys],
                       [Lent(v) for v in values])
    assert met == wanted
