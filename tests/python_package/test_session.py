"""Golden sessions, and new ones."""

import numpy as np
import pytest

import kvsplice
from golden import FOLDER, Golden, rms

NAMES = sorted(path.stem for path in FOLDER.glob("*.kvz"))
LAYERS = [kvsplice.Layer(2, 16, 8), kvsplice.Layer(1, 32, 32)]


@pytest.mark.parametrize("name", NAMES)
def test_golden_sessions_read(name):
    golden = Golden(name)
    codec = kvsplice.Codec.load(golden.codec) if golden.codec.exists() else None
    session = kvsplice.Session.open(golden.session, codec, golden.embeddings)
    wanted = {kind: golden.units("cells", kind) for kind in "kv"}
    n = len(wanted["k"][0])
    assert len(session) == n
    assert session.tokens[n:].tolist() == golden.arrays["pending"].ravel().tolist()
    if golden.tokens is not None:
        assert session.tokens[:n].tolist() == golden.tokens.tolist()
    absent = int(golden.arrays["absent"].ravel()[0])
    for kind, rows in zip("kv", session.read(dtype=np.float32)):
        for layer, cells in wanted[kind].items():
            first = absent if session.layers[layer].window > 0 else 0
            halves = cells.view(np.float16).astype(np.float32)[first:]
            met = rows[layer].reshape(n, -1)[first:]
            # A half may fall on the other side of a tie.
            assert np.abs(met - halves).max() <= 1e-5 * rms(halves) + 2**-10 * np.abs(halves).max()


def some_cells(n, seed=2):
    random = np.random.default_rng(seed)
    return ([random.standard_normal((n, of.kv_heads, of.key_dim)).astype(np.float16)
             for of in LAYERS],
            [random.standard_normal((n, of.kv_heads, of.value_dim)).astype(np.float16)
             for of in LAYERS])


def test_a_lossless_session_grows(tmp_path):
    path, tokens = tmp_path / "a.kvz", np.arange(100, 400)
    keys, values = some_cells(300)
    kvsplice.Session.pack(path, tokens[:200], [k[:200] for k in keys], [v[:200] for v in values],
                          model="m" * 32, layers=LAYERS, pending=[200 + 100])
    assert kvsplice.Session.open(path).tokens.tolist() == tokens[:201].tolist()
    kvsplice.Session.extend(path, tokens[200:], [k[200:] for k in keys], [v[200:] for v in values])
    with pytest.raises(kvsplice.Error) as caught:  # somebody else has been there
        kvsplice.Session.extend(path, [7], [k[:1] for k in keys], [v[:1] for v in values],
                                first=299)
    assert caught.value.status == kvsplice.Status.USAGE
    session = kvsplice.Session.open(path)
    assert session.model == "m" * 32 and session.layers == LAYERS
    assert session.tokens.tolist() == tokens.tolist()
    for met, wanted in zip(session.read(), (keys, values)):
        for rows, cells in zip(met, wanted):
            np.testing.assert_array_equal(rows, cells)
    for rows, cells in zip(session.read(190, 20)[0], keys):
        np.testing.assert_array_equal(rows, cells[190:210])


def test_what_is_wrong_with_sessions(tmp_path):
    def status_of(call):
        with pytest.raises(kvsplice.Error) as caught:
            call()
        return caught.value.status

    path, status = tmp_path / "a.kvz", kvsplice.Status
    keys, values = some_cells(10)
    pack = kvsplice.Session.pack
    assert status_of(lambda: kvsplice.Session.open(path)) == status.IO
    assert status_of(lambda: pack(path, range(10), keys, values, layers=LAYERS)) == status.USAGE
    assert status_of(lambda: pack(path, range(10), keys[:1], values, model="m",
                                  layers=LAYERS)) == status.USAGE
    pack(path, range(10), keys, values, model="m", layers=LAYERS)
    session = kvsplice.Session.open(path)
    assert status_of(lambda: session.read(5, 6)) == status.USAGE
    golden, other = Golden("default"), Golden("dct")
    assert status_of(lambda: kvsplice.Session.open(
        golden.session, kvsplice.Codec.load(other.codec))) == status.MISMATCH
