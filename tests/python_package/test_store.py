"""Stores and banks. test_serve.py shares one with `kvsplice serve`."""

import os
import subprocess
import sys

import numpy as np
import pytest

import kvsplice
from golden import FOLDER, Golden, rms

if not hasattr(kvsplice._core, "Store"):
    pytest.skip("the package was built without stores", allow_module_level=True)

LAYERS = [kvsplice.Layer(2, 16, 8), kvsplice.Layer(1, 32, 32)]
MODEL = "a" * 32


def row_of(token, layer, kind, heads, dim):
    random = np.random.default_rng([token, layer, kind])
    return random.standard_normal((heads, dim)).astype(np.float16)


def cells_of(tokens, layers=LAYERS):
    """Every row is told by its token."""
    keys = [np.stack([row_of(t, i, 0, of.kv_heads, of.key_dim) for t in tokens])
            for i, of in enumerate(layers)]
    values = [np.stack([row_of(t, i, 1, of.kv_heads, of.value_dim) for t in tokens])
              for i, of in enumerate(layers)]
    return keys, values


def open_bank(folder, **more):
    return kvsplice.Store.open(folder).bank(**{"model": MODEL, "layers": LAYERS, **more})


def expect_cells(bank, tokens, count):
    match = bank.find(tokens)
    assert len(match) == count
    for n in {min(1, count), count // 2, count}:
        if n == 0:
            continue
        for met, wanted in zip(bank.read(match, tokens[:n]), cells_of(tokens[:n])):
            for rows, cells in zip(met, wanted):
                assert rows.dtype == np.float16 and rows.shape == cells.shape
                np.testing.assert_array_equal(rows, cells)


def status_of(call):
    with pytest.raises(kvsplice.Error) as caught:
        call()
    return caught.value.status


def tokens_of(first, n):
    return list(range(first, first + n))


def files_in(folder):
    return sorted(folder.glob("objects/*/*.kvo"))


def test_the_longest_prefix_comes_back_to_the_bit(tmp_path):
    bank, tokens = open_bank(tmp_path / "store"), tokens_of(10, 600)
    assert len(bank.find(tokens)) == 0
    assert bank.keep(tokens, *cells_of(tokens)) == 600
    expect_cells(open_bank(tmp_path / "store"), tokens, 600)
    expect_cells(bank, tokens[:400] + [3, 4], 400)
    expect_cells(bank, tokens[:550] + [3, 4], 550)
    assert len(bank.find([11, 12])) == 0
    assert bank.layers == LAYERS
    assert len(files_in(tmp_path / "store")) == 3  # two blocks and a tail


def test_what_is_there_is_not_stored_again(tmp_path):
    bank, tokens = open_bank(tmp_path), tokens_of(10, 900)
    bank.keep(tokens[:600], *cells_of(tokens[:600]))
    before = {path: path.stat().st_mtime_ns for path in files_in(tmp_path)}
    bank.keep(tokens, *cells_of(tokens))
    after = {path: path.stat().st_mtime_ns for path in files_in(tmp_path)}
    assert len(after) == 4  # the tail has grown to a block, and there is one behind it
    assert sum(after.get(path) == time for path, time in before.items()) == 2


OTHER_PROCESS = """
import sys
import test_store as test
bank = test.open_bank(sys.argv[1])
tokens = test.tokens_of(int(sys.argv[2]), 400)
test.expect_cells(bank, tokens, int(sys.argv[3]))
bank.keep(tokens, *test.cells_of(tokens))
"""


def start_other(folder, first, there):
    paths = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen([sys.executable, "-c", OTHER_PROCESS, str(folder), str(first),
                             str(there)], env={**os.environ, "PYTHONPATH": paths})


def test_processes_share_a_store(tmp_path):
    bank = open_bank(tmp_path)
    bank.keep(tokens_of(10, 400), *cells_of(tokens_of(10, 400)))
    assert start_other(tmp_path, 10, 400).wait() == 0
    firsts = range(1000, 5000, 1000)
    others = [start_other(tmp_path, first, 0) for first in firsts]
    for first in range(6000, 12000, 1000):
        bank.keep(tokens_of(first, 300), *cells_of(tokens_of(first, 300)))
    assert [other.wait() for other in others] == [0] * len(others)
    for first in firsts:
        expect_cells(bank, tokens_of(first, 400), 400)
    for first in range(6000, 12000, 1000):
        expect_cells(bank, tokens_of(first, 300), 300)


def test_others_find_nothing(tmp_path):
    tokens = tokens_of(10, 300)
    open_bank(tmp_path, tenant="one").keep(tokens, *cells_of(tokens))
    expect_cells(open_bank(tmp_path, tenant="one"), tokens, 300)
    for other in ({"tenant": "two"}, {"tenant": ""}, {"tenant": "one", "key_type": "q8_0"},
                  {"tenant": "one", "model": "b" * 32}):
        assert len(open_bank(tmp_path, **other).find(tokens)) == 0


def test_damage_is_a_miss(tmp_path):
    bank, tokens = open_bank(tmp_path), tokens_of(10, 256)
    bank.keep(tokens, *cells_of(tokens))
    path, = files_in(tmp_path)
    broken = bytearray(path.read_bytes())
    broken[-1] ^= 1
    path.write_bytes(broken)
    match = bank.find(tokens)  # which opens the tokens only
    assert status_of(lambda: bank.read(match, tokens)) == kvsplice.Status.MISMATCH
    assert len(bank.find(tokens)) == 0
    bank.keep(tokens, *cells_of(tokens))
    path.write_bytes(path.read_bytes()[:100])
    assert len(bank.find(tokens)) == 0
    bank.keep(tokens, *cells_of(tokens))
    expect_cells(bank, tokens, 256)


def test_a_codec_codes_what_is_not_exact(tmp_path):
    codec = kvsplice.Codec.load(Golden("klt").codec)
    random = np.random.default_rng(6)
    tokens = random.integers(0, 50, 300)
    keys, values = ([random.standard_normal((300, of.kv_heads, dim(of))).astype(np.float16)
                     for of in codec.layers]
                    for dim in (lambda of: of.key_dim, lambda of: of.value_dim))
    bank = kvsplice.Store.open(tmp_path).bank(codec)
    assert bank.keep(tokens, keys, values) == 300
    exact = np.r_[:4, 300 - 32:300]
    for met, wanted in zip(bank.read(bank.find(tokens), tokens), (keys, values)):
        for rows, numbers in zip(met, wanted):
            np.testing.assert_array_equal(rows[exact], numbers[exact])
            apart = rms(rows[4:268].astype(np.float32) - numbers[4:268])
            assert 5e-4 < apart < 0.02


def test_a_store_has_one_key(tmp_path):
    tokens = tokens_of(10, 300)
    open_bank(tmp_path / "a").keep(tokens, *cells_of(tokens))
    open_bank(tmp_path / "b")
    ours, theirs = (kvsplice.Store.open(tmp_path / name).key for name in "ab")
    assert ours != theirs and len(ours) == 16
    key = (tmp_path / "a" / "key").read_text()
    (tmp_path / "a" / "key").write_text((tmp_path / "b" / "key").read_text())
    assert len(open_bank(tmp_path / "a").find(tokens)) == 0
    (tmp_path / "a" / "key").unlink()
    assert status_of(lambda: kvsplice.Store.open(tmp_path / "a")) == kvsplice.Status.MISMATCH
    (tmp_path / "a" / "key").write_text("no key")
    assert status_of(lambda: kvsplice.Store.open(tmp_path / "a")) == kvsplice.Status.FORMAT
    (tmp_path / "a" / "key").write_text(key)
    expect_cells(open_bank(tmp_path / "a"), tokens, 300)


def test_the_longest_unused_make_room(tmp_path):
    store = kvsplice.Store.open(tmp_path, 100_000)
    bank = store.bank(model=MODEL, layers=LAYERS)
    for first in range(0, 4000, 400):
        bank.keep(tokens_of(first, 300), *cells_of(tokens_of(first, 300)))
    assert 0 < store.bytes <= 100_000
    assert len(bank.find(tokens_of(3600, 300))) == 300
    assert len(bank.find(tokens_of(0, 300))) < 300
    with pytest.raises(kvsplice.Error) as caught:
        small = kvsplice.Store.open(tmp_path, 1000).bank(model=MODEL, layers=LAYERS)
        small.keep(tokens_of(5000, 300), *cells_of(tokens_of(5000, 300)))
    assert caught.value.status == kvsplice.Status.IO


def test_what_is_wrong_with_stores(tmp_path):
    status, store = kvsplice.Status, kvsplice.Store.open(tmp_path / "store")
    (tmp_path / "file").write_text("no folder")
    assert status_of(lambda: kvsplice.Store.open(tmp_path / "file")) == status.IO
    for url in ("redis://localhost:6379", "s3+https://host/bucket"):
        with pytest.raises(kvsplice.Error, match="a folder, not a URL"):
            kvsplice.Store.open(url)
    assert status_of(lambda: store.bank(model="", layers=LAYERS)) == status.USAGE
    assert status_of(lambda: store.bank(model=MODEL)) == status.USAGE
    sliding = [LAYERS[0]._replace(window=4), LAYERS[1]]
    assert status_of(lambda: store.bank(model=MODEL, layers=sliding)) == status.UNSUPPORTED
    codec = kvsplice.Codec.load(Golden("klt").codec)
    assert status_of(lambda: store.bank(codec, model=MODEL)) == status.MISMATCH
    reads = kvsplice.Codec.load(Golden("default").codec)
    assert reads.embedding_dim == 0 or status_of(lambda: store.bank(reads)) == status.USAGE

    bank, tokens = store.bank(model=MODEL, layers=LAYERS), tokens_of(10, 40)
    keys, values = cells_of(tokens)
    assert status_of(lambda: bank.keep(tokens, keys[:1], values)) == status.USAGE
    assert status_of(lambda: bank.keep(tokens[:-1], keys, values)) == status.USAGE
    broken = [keys[0].copy(), keys[1]]
    broken[0][3, 1, 2] = np.inf
    assert status_of(lambda: bank.keep(tokens, broken, values)) == status.NUMERIC
    assert bank.keep(tokens, keys, values) == 40
    assert status_of(lambda: bank.read(bank.find(tokens), tokens + [1])) == status.USAGE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    assert status_of(lambda: kvsplice.Store.open(tmp_path / "store")) == kvsplice.Status.IO


def test_fingerprints_tell_models_apart(tmp_path):
    path = FOLDER / "klt.gguf"
    (tmp_path / "copy").write_bytes(path.read_bytes())
    digits = kvsplice.model_fingerprint(path)
    assert len(digits) == 32 and digits == kvsplice.model_fingerprint(tmp_path / "copy")
    assert digits != kvsplice.model_fingerprint(FOLDER / "dct.gguf")
    assert status_of(lambda: kvsplice.model_fingerprint(tmp_path / "none")) == kvsplice.Status.IO
    assert status_of(lambda: kvsplice.model_fingerprint(__file__)) == kvsplice.Status.FORMAT
