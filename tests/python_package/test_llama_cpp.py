"""LlamaCache in llama-cpp-python itself, with the small model of the set-up.

What is evaluated in other pieces differs in its last bits, and with them text may. So all is
compared with runs that evaluate the same pieces: with a context that simply goes on, and with the
package's own cache in memory.
"""

import json
import os
import subprocess
import sys
import warnings

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


def make_llama(flash_attn=False):
    return llama_cpp.Llama(MODEL, n_ctx=512, n_threads=1, n_threads_batch=1, verbose=False,
                           flash_attn=flash_attn)


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
