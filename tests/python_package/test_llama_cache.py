"""LlamaCache on states made here. test_llama_cpp.py has it at work in llama-cpp-python."""

import gc
import types
import warnings

import numpy as np
import pytest

from stand_in import Llama, LlamaState

import kvsplice
from golden import FOLDER, Golden

N_CTX, WIDTH, VOCABULARY = 512, 32, 1000


def row_of(token, layer, kind):
    random = np.random.default_rng([token, layer, kind])
    return random.standard_normal(WIDTH).astype(np.float16)


def make_state(tokens, dtype=np.float16, n_ctx=N_CTX, layers=2, seed=7, **more):
    """As Llama.save_state makes it; every row is told by its token."""
    keys, values = ([np.stack([row_of(t, layer, kind) for t in tokens]).astype(dtype)
                     for layer in range(layers)] for kind in (0, 1))
    data = kvsplice.pack_state(kvsplice.State(
        keys, values, **{"form": "context data", "architecture": "llama",
                         "values_transposed": True, **more}))
    ids = np.zeros(n_ctx, np.intc)
    ids[:len(tokens)] = tokens
    return LlamaState(ids, np.ones((len(tokens), VOCABULARY), np.single), len(tokens), data,
                      len(data), seed)


def expect_restored(state, tokens, dtype=np.float16, n_ctx=N_CTX):
    """In the order of Llama.load_state."""
    assert state.scores.shape == (1, 1) and not state.scores.any()
    assert state.input_ids.dtype == np.intc and len(state.input_ids) == n_ctx
    assert state.input_ids[:len(tokens)].tolist() == list(tokens)
    assert (state.input_ids[len(tokens):] == -1).all()
    assert state.n_tokens == len(tokens) and state.seed == 7
    wanted = make_state(tokens, dtype, n_ctx)
    assert state.llama_state == wanted.llama_state
    assert state.llama_state_size == len(wanted.llama_state)


def tokens_of(first, n):
    return list(range(first, first + n))


def test_the_longest_prefix_is_restored(tmp_path):
    cache = kvsplice.LlamaCache(model="a", path=tmp_path)
    one, other = tokens_of(10, 60), tokens_of(10, 20) + tokens_of(500, 50)
    with pytest.raises(KeyError):
        cache[one]
    cache[one + [999]] = make_state(one)
    cache[other] = make_state(other)
    assert one in cache and [10] in cache and [11] not in cache
    expect_restored(cache[one], one)
    expect_restored(cache[one + [3, 4]], one)
    expect_restored(cache[one[:33] + [3, 4]], one[:33])
    expect_restored(cache[other + [3]], other)
    expect_restored(cache[other[:20] + [3]], other[:20])
    with pytest.raises(KeyError):
        cache[[11, 12]]


def test_a_conversation_that_goes_on_stays_one_file(tmp_path):
    cache = kvsplice.LlamaCache(model="a", path=tmp_path)
    for n in (40, 41, 200, 90):
        cache[tokens_of(10, n)] = make_state(tokens_of(10, n))
        assert len(list(tmp_path.glob("*/*.kvz"))) == 1
    expect_restored(cache[tokens_of(10, 300)], tokens_of(10, 200))


def test_another_process_finds_what_there_is(tmp_path):
    first = kvsplice.LlamaCache(model="a", path=tmp_path)
    second = kvsplice.LlamaCache(model="a", path=tmp_path)
    other = kvsplice.LlamaCache(model="b", path=tmp_path)
    first[tokens_of(10, 30)] = make_state(tokens_of(10, 30))
    expect_restored(second[tokens_of(10, 40)], tokens_of(10, 30))
    first[tokens_of(10, 50)] = make_state(tokens_of(10, 50))
    expect_restored(second[tokens_of(10, 80)], tokens_of(10, 50))
    assert tokens_of(10, 30) not in other and other.cache_size == 0
    assert second.cache_size == first.cache_size > 0
    bigger = kvsplice.LlamaCache(model="a", path=tmp_path, n_ctx=700)
    expect_restored(bigger[tokens_of(10, 50)], tokens_of(10, 50), n_ctx=700)


def test_other_caches_come_back_as_they_were(tmp_path):
    cache = kvsplice.LlamaCache(model="a", path=tmp_path)
    cache[tokens_of(1, 20)] = make_state(tokens_of(1, 20), np.float32)
    expect_restored(cache[tokens_of(1, 20)], tokens_of(1, 20), np.float32)


def test_q8_0_caches_come_back(tmp_path, monkeypatch):
    def make_coded(tokens):
        return make_state(tokens, values_transposed=False, quantised=(True, True), rotation=False)

    cache, tokens = kvsplice.LlamaCache(model="a", path=tmp_path), tokens_of(1, 20)
    with pytest.warns(RuntimeWarning, match="layers are wanted"):  # to turn the heads back
        cache[tokens] = make_coded(tokens)
    monkeypatch.setenv("LLAMA_ATTN_ROT_DISABLE", "1")
    cache[tokens] = make_coded(tokens)
    assert cache[tokens].llama_state == make_coded(tokens).llama_state


def test_memory_is_given_back():
    cache = kvsplice.LlamaCache(model="a")
    cache[tokens_of(1, 20)] = make_state(tokens_of(1, 20))
    folder = cache._kept.folder
    expect_restored(cache[tokens_of(1, 20)], tokens_of(1, 20))
    assert folder.exists()
    del cache
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    assert not folder.exists()


def test_the_longest_unused_make_room(tmp_path):
    cache = kvsplice.LlamaCache(model="a", path=tmp_path)
    for first in (100, 200, 300):
        cache[tokens_of(first, 40)] = make_state(tokens_of(first, 40))
    cache[tokens_of(100, 40)].scores  # used, so that the second is the longest unused
    cache.capacity_bytes = cache.cache_size + 10
    cache[tokens_of(400, 40)] = make_state(tokens_of(400, 40))
    assert [tokens_of(first, 40) in cache for first in (100, 200, 300, 400)] == [
        True, False, True, True]
    assert cache.cache_size <= cache.capacity_bytes


def test_what_cannot_be_kept_is_warned_of(tmp_path):
    cache = kvsplice.LlamaCache(model="a", path=tmp_path)
    state = make_state(tokens_of(1, 20))
    state.n_tokens = 19
    with pytest.warns(RuntimeWarning, match="20 cells for 19 tokens"):
        cache[tokens_of(1, 20)] = state
    state.llama_state = b"no state"
    with pytest.warns(RuntimeWarning):
        cache[tokens_of(1, 20)] = state
    assert cache.cache_size == 0


def test_what_has_gone_is_a_miss(tmp_path):
    cache = kvsplice.LlamaCache(model="a", path=tmp_path)
    cache[tokens_of(1, 20)] = make_state(tokens_of(1, 20))
    held = cache[tokens_of(1, 20)]
    for path in tmp_path.glob("*/*.kvz"):
        path.unlink()
    with pytest.warns(RuntimeWarning), pytest.raises(KeyError):
        held.scores
    with pytest.raises(KeyError):
        cache[tokens_of(1, 20)]
    cache[tokens_of(1, 20)] = make_state(tokens_of(1, 20))
    for path in tmp_path.glob("*/*.kvz"):
        path.write_bytes(path.read_bytes()[:-40])
    assert tokens_of(1, 20) not in cache or cache[tokens_of(1, 20)].n_tokens <= 20


def test_a_codec_is_of_its_model(tmp_path):
    with pytest.raises(kvsplice.Error, match="neither"):
        kvsplice.LlamaCache(path=tmp_path)
    with pytest.raises(kvsplice.Error, match="embeddings"):
        kvsplice.LlamaCache(FOLDER / "default.gguf", path=tmp_path)
    cache = kvsplice.LlamaCache(Golden("exact").codec, path=tmp_path)
    with pytest.warns(RuntimeWarning, match="layer"):  # of two wide layers, not three narrow ones
        cache[tokens_of(1, 20)] = make_state(tokens_of(1, 20))


class Asking(Llama):
    """A Llama that asks a cache, and whose states are like those made here."""

    lora_path = None

    def __init__(self, **states):
        self.states, self.n_tokens, self.evaluated = states, 0, []
        self.context_params = types.SimpleNamespace(rope_scaling_type=-1, rope_freq_base=0,
                                                    rope_freq_scale=0)

    def close(self):
        pass

    def __del__(self):
        pass

    def eval(self, tokens):
        self.evaluated += tokens
        self.n_tokens += len(tokens)

    def reset(self):
        self.n_tokens = 0

    def save_state(self):
        return make_state([1] * self.n_tokens, **self.states)

    def ask(self, cache, tokens):
        return cache[tokens]

    def tell(self, cache, tokens):
        cache[tokens] = make_state(tokens, **self.states)


@pytest.fixture
def model(tmp_path):
    """Any GGUF file will do: only its fingerprint is asked for."""
    if not hasattr(kvsplice._core, "Store"):
        pytest.skip("the package was built without stores")
    return FOLDER / "klt.gguf"


def test_a_store_has_what_another_cache_stored(tmp_path, model):
    first, other = Asking(), Asking(values_transposed=False, n_ctx=700)
    cache = kvsplice.LlamaCache(model=model, store=tmp_path)
    one = tokens_of(10, 400)
    with pytest.raises(KeyError):
        first.ask(cache, one)
    first.tell(cache, one)
    expect_restored(first.ask(cache, one + [3]), one)
    assert first.evaluated == [0] and first.n_tokens == 0

    again = kvsplice.LlamaCache(model=model, store=tmp_path)
    expect_restored(first.ask(again, one[:300] + [3, 4]), one[:300])
    assert one in again and again.cache_size == cache.cache_size > 0
    restored = other.ask(again, one[:50])  # whose cache is laid out in another way
    assert restored.llama_state == make_state(one[:50], values_transposed=False).llama_state
    assert restored.scores.shape == (1, 1) and len(restored.input_ids) == 700
    assert restored.n_tokens == 50


def test_what_a_store_keeps_apart(tmp_path, model):
    llm, tokens = Asking(), tokens_of(10, 300)
    llm.tell(kvsplice.LlamaCache(model=model, store=tmp_path, tenant="one"), tokens)
    singles = Asking(dtype=np.float32)
    for asks, cache in ((llm, {"tenant": "two"}), (llm, {}), (singles, {"tenant": "one"}),
                        (llm, {"tenant": "one", "model": FOLDER / "dct.gguf"})):
        with pytest.raises(KeyError):
            asks.ask(kvsplice.LlamaCache(**{"model": model, "store": tmp_path, **cache}), tokens)
    cache = kvsplice.LlamaCache(model=model, store=tmp_path, tenant="one")
    expect_restored(llm.ask(cache, tokens), tokens)


def test_other_caches_come_back_from_a_store(tmp_path, model):
    llm, tokens = Asking(dtype=np.float32), tokens_of(10, 40)
    cache = kvsplice.LlamaCache(model=model, store=tmp_path)
    llm.tell(cache, tokens)
    expect_restored(llm.ask(cache, tokens), tokens, np.float32)


def test_a_damaged_object_is_a_miss(tmp_path, model):
    llm, tokens = Asking(), tokens_of(10, 300)
    cache = kvsplice.LlamaCache(model=model, store=tmp_path)
    llm.tell(cache, tokens)
    for path in tmp_path.glob("objects/*/*.kvo"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    held = llm.ask(cache, tokens)
    with pytest.warns(RuntimeWarning, match="restores no state"), pytest.raises(KeyError):
        held.scores
    with pytest.raises(KeyError):
        llm.ask(cache, tokens)
    llm.tell(cache, tokens)
    expect_restored(llm.ask(cache, tokens), tokens)


def test_cells_that_are_not_the_models_stay_out_of_a_store(tmp_path, model):
    llm, tokens = Asking(), tokens_of(10, 300)
    cache = kvsplice.LlamaCache(model=model, store=tmp_path)
    llm.lora_path = "adapter.gguf"
    with pytest.warns(RuntimeWarning, match="adapter"):
        llm.tell(cache, tokens)
    with pytest.warns(RuntimeWarning, match="adapter"), pytest.raises(KeyError):
        llm.ask(cache, tokens)
    assert cache.cache_size == 0


def test_what_is_wrong_with_a_cache_in_a_store(tmp_path, model):
    def status_of(**more):
        with pytest.raises(kvsplice.Error) as caught:
            kvsplice.LlamaCache(**{"model": model, "store": tmp_path / "store", **more})
        return caught.value.status

    status = kvsplice.Status
    assert status_of(path=tmp_path) == status_of(sinks=8) == status.USAGE
    assert status_of(store=None, tenant="one") == status.USAGE
    assert status_of(store="redis://localhost") == status.USAGE
    assert status_of(model="any text") == status.IO
    assert status_of(model=__file__) == status.FORMAT
    assert status_of(codec=model) == status.MISMATCH  # which is no model, so of none
    (tmp_path / "file").touch()
    assert status_of(store=tmp_path / "file") == status.IO
    llm, tokens = Asking(), tokens_of(10, 40)
    llm.tell(kvsplice.LlamaCache(model=model, store=tmp_path / "store"), tokens)
    (tmp_path / "store" / "key").unlink()
    assert status_of() == status.MISMATCH


def test_hybrids_are_refused_by_name(tmp_path):
    cache = kvsplice.LlamaCache(model="a", path=tmp_path)
    state = kvsplice.RecurrentState(20, 4, [1], [np.zeros(3, np.float32)], [np.zeros(4, np.float32)])
    with pytest.warns(RuntimeWarning, match="keeps no state: a hybrid model"):
        cache[tokens_of(10, 20)] = make_state(tokens_of(10, 20), recurrent=state)
    assert tokens_of(10, 20) not in cache
