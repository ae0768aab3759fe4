"""LlamaCache and states in llama-cpp-python itself, with the small model of the set-up.

What is evaluated in other pieces differs in its last bits, and with them text may. So all is
compared with runs that evaluate the same pieces: with a context that simply goes on, and with the
package's own cache in memory.
"""

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

llama_cpp = pytest.importorskip("llama_cpp")
MODEL = os.environ.get("KVSPLICE_TEST_MODEL", "")
if not hasattr(llama_cpp, "Llama") or not os.path.exists(MODEL):
    pytest.skip("no llama-cpp-python or no model", allow_module_level=True)

import kvsplice  # noqa: E402

STORY = ("Once upon a time there was a lighthouse keeper who counted ships. Every evening he wrote "
         "their names into a book, and every morning he read them to the gulls. ") * 4
PROMPTS = [STORY + "One night", STORY + "The gulls", "The three laws of thermodynamics are"]
MORE = " And then"


def make_llama(flash_attn=False, **more):
    return llama_cpp.Llama(MODEL, n_ctx=512, n_threads=1, n_threads_batch=1, verbose=False,
                           flash_attn=flash_attn, **more)


def complete(llm, prompt):
    return llm(prompt, max_tokens=32, temperature=0)["choices"][0]["text"]


def talk(llm):
    """Three conversations that take turns."""
    first = [complete(llm, prompt) for prompt in PROMPTS]
    return first, [complete(llm, p + answer + MORE) for p, answer in zip(PROMPTS, first)]


@pytest.fixture(scope="module", params=[False, True], ids=["plain attention", "flash attention"])
def expected(request):
    llm = make_llama(request.param)
    llm.set_cache(llama_cpp.LlamaRAMCache())
    return request.param, *talk(llm)


def test_conversations_take_turns(expected):
    flash_attn, first, more = expected
    llm = make_llama(flash_attn)
    llm.set_cache(kvsplice.LlamaCache(model=MODEL))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert talk(llm) == (first, more)


OTHER_PROCESS = """
import json, sys, warnings
warnings.simplefilter("error")
import test_llama_cpp as test
import kvsplice

folder, flash_attn, first = json.loads(sys.argv[1])
llm = test.make_llama(flash_attn)
llm.set_cache(kvsplice.LlamaCache(model=test.MODEL, path=folder))
evaluated, evaluate = [], llm.eval

def count(tokens):
    evaluated.append(len(tokens))
    evaluate(tokens)

llm.eval = count
texts = [test.complete(llm, p + a + test.MORE) for p, a in zip(test.PROMPTS, first)]
print(json.dumps([evaluated, texts]))
"""


def test_another_process_goes_on(expected, tmp_path):
    flash_attn, first, more = expected
    llm = make_llama(flash_attn)
    llm.set_cache(kvsplice.LlamaCache(model=MODEL, path=tmp_path))
    assert [complete(llm, prompt) for prompt in PROMPTS] == first
    assert len(list(tmp_path.glob("*/*.kvz"))) == len(PROMPTS)

    here = os.path.dirname(__file__)
    paths = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    out = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS, json.dumps([str(tmp_path), flash_attn, first])],
        env={**os.environ, "PYTHONPATH": paths}, check=True, capture_output=True, text=True)
    evaluated, texts = json.loads(out.stdout.splitlines()[-1])
    assert texts == more
    assert max(evaluated) < 8  # prompts of more than a hundred tokens were not evaluated again
    assert len(list(tmp_path.glob("*/*.kvz"))) == len(PROMPTS)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_text_is_the_same_as_without_the_detour(prompt, tmp_path):
    live = make_llama()
    first = complete(live, prompt)
    wanted = complete(live, prompt + first + MORE)
    for expected_text, text in ((first, prompt), (wanted, prompt + first + MORE)):
        llm = make_llama()  # knows nothing of the one before
        llm.set_cache(kvsplice.LlamaCache(model=MODEL, path=tmp_path))
        assert complete(llm, text) == expected_text


def layers_of(llm):
    def number(key):
        return int(llm.metadata["llama." + key])

    dim = number("embedding_length") // number("attention.head_count")
    return [kvsplice.Layer(number("attention.head_count_kv"), dim, dim)] * number("block_count")


def test_q8_0_states_are_read_and_loaded():
    q8_0 = {"type_k": llama_cpp.GGML_TYPE_Q8_0, "type_v": llama_cpp.GGML_TYPE_Q8_0}
    plain, coded, other = make_llama(True), make_llama(True, **q8_0), make_llama(True, **q8_0)
    layers, tokens = layers_of(plain), plain.tokenize(STORY.encode())
    for llm in (plain, coded):
        llm.eval(tokens)
    saved = coded.save_state()
    wanted = kvsplice.unpack_state(plain.save_state().llama_state, layers)
    state = kvsplice.unpack_state(saved.llama_state, layers)
    assert len(state) == len(tokens) and state.quantised == (True, True) and state.rotation
    # Later layers also see what the roundings of the first ones change.
    for layer, most in ((0, 0.01), (len(layers) - 1, 0.1)):
        for met, cells in ((state.keys, wanted.keys), (state.values, wanted.values)):
            numbers = cells[layer].astype(np.float32)
            apart = np.linalg.norm(met[layer] - numbers) / np.linalg.norm(numbers)
            assert 1e-4 < apart < most

    packed = kvsplice.pack_state(state, layers)
    assert len(packed) == len(saved.llama_state)
    apart = np.frombuffer(packed, np.uint8) != np.frombuffer(saved.llama_state, np.uint8)
    assert apart.mean() < 0.001  # of a few scales, the last bit
    saved.llama_state = packed
    other.load_state(saved)

    def go_on(llm, text):
        for _ in range(8):
            llm.eval(text[-1:])
            text = text + [llm.sample(temp=0)]
        return text

    assert go_on(other, tokens[-1:]) == go_on(coded, tokens[-1:])
