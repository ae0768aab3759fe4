"""Golden sessions, and new ones."""

import ctypes
import mmap

import numpy as np
import pytest

import kvsplice
from golden import FOLDER, Golden, rms

NAMES = sorted(path.stem for path in FOLDER.glob("*.kvz"))
LAYERS = [kvsplice.Layer(2, 16, 8), kvsplice.Layer(1, 32, 32)]


@pytest.mark.parametrize("source", [lambda path: path, lambda path: path.read_bytes()],
                         ids=["path", "bytes"])
@pytest.mark.parametrize("name", NAMES)
def test_golden_sessions_read(name, source):
    golden = Golden(name)
    codec = kvsplice.Codec.load(golden.codec) if golden.codec.exists() else None
    session = kvsplice.Session.open(source(golden.session), codec, golden.embeddings)
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


def pack_some(keys, values, **more):
    return kvsplice.Session.pack_bytes(range(len(keys[0])), keys, values, model="m", layers=LAYERS,
                                       **more)


def expect_cells(session, keys, values):
    for met, wanted in zip(session.read(), (keys, values)):
        for rows, cells in zip(met, wanted):
            np.testing.assert_array_equal(rows, cells)


def test_memory_is_as_good_as_a_file(tmp_path):
    path = tmp_path / "a.kvz"
    keys, values = some_cells(100)
    kvsplice.Session.pack(path, range(100), keys, values, model="m", layers=LAYERS, pending=[7])
    data = pack_some(keys, values, pending=[7])
    assert type(data) is bytes and data == path.read_bytes()
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    for source in (data, memoryview(data), memoryview(bytearray(data)), memoryview(mapped)):
        session = kvsplice.Session.open(source)
        assert session.tokens.tolist() == [*range(100), 7]
        expect_cells(session, keys, values)


def test_bytes_are_held_and_not_copied():
    keys, values = some_cells(100)
    held = bytearray(pack_some(keys, values))
    session = kvsplice.Session.open(memoryview(held))
    with pytest.raises(BufferError):  # somebody looks at them
        held.clear()
    expect_cells(session, keys, values)
    del session
    held.clear()
    expect_cells(kvsplice.Session.open(pack_some(keys, values)), keys, values)


def test_hostile_bytes_are_errors():
    keys, values = some_cells(40)
    data = pack_some(keys, values)
    for n in range(0, len(data), 7):
        with pytest.raises(kvsplice.Error):
            kvsplice.Session.open(data[:n]).read()
    random = np.random.default_rng(5)
    for _ in range(300):
        broken = bytearray(data)
        broken[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
        try:
            kvsplice.Session.open(bytes(broken)).read()
        except kvsplice.Error as e:
            assert str(e)


class BrainFloats:
    """bfloat16, which NumPy does not have: what it lends as uint16 gets another type."""

    def __init__(self, rows):
        self.bits = (rows.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)

    def __len__(self):
        return len(self.bits)

    def __dlpack__(self, **options):
        capsule = self.bits.__dlpack__()
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
        # A DLTensor is a pointer, a device of two int32, the number of dimensions, and a type
        # whose first byte says: 4, of bfloat16.
        ctypes.memset(pointer(capsule, b"dltensor") + 20, 4, 1)
        return capsule

    def __dlpack_device__(self):
        return self.bits.__dlpack_device__()


def test_rows_of_other_types_are_rounded_or_refused():
    keys, values = some_cells(50)
    wanted = pack_some(keys, values)
    singles = [[rows.astype(np.float32) for rows in side] for side in (keys, values)]
    assert pack_some(*singles) == wanted
    whole = [[np.round(rows * 8) for rows in side] for side in (keys, values)]
    brains = [[BrainFloats(rows) for rows in side] for side in whole]
    assert pack_some(*brains) == pack_some(*whole)

    singles[0][1][3, 0, 5] += 1e-5
    with pytest.raises(kvsplice.Error) as caught:
        pack_some(*singles)
    assert caught.value.status == kvsplice.Status.NUMERIC


def test_a_codec_takes_rows_of_other_types():
    codec = kvsplice.Codec.load(Golden("klt").codec)
    random = np.random.default_rng(6)
    keys = [random.standard_normal((50, of.kv_heads, of.key_dim), np.float32)
            for of in codec.layers]
    values = [random.standard_normal((50, of.kv_heads, of.value_dim), np.float32)
              for of in codec.layers]
    data = kvsplice.Session.pack_bytes(range(50), keys, values, codec, sinks=4, window=32)
    exact = np.r_[:4, 50 - 32:50]
    for met, wanted in zip(kvsplice.Session.open(data, codec).read(), (keys, values)):
        for rows, numbers in zip(met, wanted):
            np.testing.assert_array_equal(rows[exact], numbers[exact].astype(np.float16))
            assert 5e-4 < rms((rows - numbers)[4:50 - 32]) < 0.02


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
    assert status_of(lambda: kvsplice.Session.open(b"")) == status.FORMAT
    assert status_of(lambda: kvsplice.Session.open(b"no session")) == status.FORMAT
    assert status_of(lambda: kvsplice.Session.open(memoryview(path.read_bytes())[::2])
                     ) == status.USAGE
    assert status_of(lambda: kvsplice.Session.pack_bytes(range(10), keys, values)) == status.USAGE
    golden, other = Golden("default"), Golden("dct")
    assert status_of(lambda: kvsplice.Session.open(
        golden.session, kvsplice.Codec.load(other.codec))) == status.MISMATCH


def some_state(position, seed=1):
    random = np.random.default_rng([seed, position])
    return kvsplice.RecurrentState(
        position, 6, [1, 3], [random.standard_normal(6).astype(np.float32),
                              random.standard_normal(9).astype(np.float16)],
        [random.standard_normal(40).astype(np.float32), np.zeros(0, np.float32)])


def expect_state(met, wanted, exact=True):
    assert (met.position, met.model_layers) == (wanted.position, wanted.model_layers)
    assert met.layers == wanted.layers
    for a, b in zip(met.r + met.s, wanted.r + wanted.s):
        rounded = b if exact else b.astype(np.float16).astype(b.dtype)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, rounded)


def test_recurrent_states_are_kept(tmp_path):
    path, tokens = tmp_path / "a.kvz", np.arange(100, 400)
    keys, values = some_cells(300)
    part = lambda first, end: (tokens[first:end], [k[first:end] for k in keys],
                               [v[first:end] for v in values])
    kvsplice.Session.pack(path, *part(0, 200), model="m" * 32, layers=LAYERS,
                          states=[some_state(64), some_state(200)])
    session = kvsplice.Session.open(path)
    assert session.states == [64, 200]
    expect_state(session.state(64), some_state(64))
    with pytest.raises(kvsplice.Error, match="stored: behind token 64, token 200"):
        session.state(65)
    with pytest.raises(kvsplice.Error, match="no states"):
        kvsplice.Session.extend(path, *part(200, 300))
    kvsplice.Session.extend(path, *part(200, 300), states=[some_state(300)], state_encoding="f16",
                            instead_of=200)
    session = kvsplice.Session.open(path.read_bytes())
    assert session.states == [64, 300]
    expect_state(session.state(64), some_state(64))
    expect_state(session.state(300), some_state(300), exact=False)
    packed = kvsplice.Session.pack_bytes(*part(0, 200), model="m" * 32, layers=LAYERS,
                                         states=[some_state(200)])
    expect_state(kvsplice.Session.open(packed).state(200), some_state(200))
    with pytest.raises(kvsplice.Error, match="legal: .'exact', 'f16', 'q8'"):
        kvsplice.Session.pack_bytes(*part(0, 200), states=[], state_encoding="f8")


@pytest.mark.parametrize("name", ["hybrid", "hybrid-lossless", "hybrid-q8", "hybrid-turns"])
def test_recurrent_states_of_golden_sessions_read(name):
    golden = Golden(name, FOLDER.parent / "4")
    codec = kvsplice.Codec.load(golden.codec) if golden.codec.exists() else None
    session = kvsplice.Session.open(golden.session, codec, golden.embeddings)
    assert session.states == golden.arrays["states"][:, 0].tolist()
    for position, model_layers in golden.arrays["states"]:
        state = session.state(int(position))
        assert state.model_layers == model_layers and state.layers == [1, 3]
        for part, rows in (("r", state.r), ("s", state.s)):
            for layer, row in zip(state.layers, rows):
                group = "state" if row.dtype == np.float32 else "halves"
                wanted = golden.arrays[f"{group}.{position}.{layer}.{part}"].ravel()
                np.testing.assert_array_equal(row, wanted.view(row.dtype))
    if codec is not None:
        assert codec.recurrent_layers == [1, 3]
