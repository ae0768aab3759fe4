"""One store for `kvsplice serve`, with a real llama-server behind it, and for llama-cpp-python: what
one has evaluated the other restores."""

import os
import subprocess
import sys

import pytest

llama_cpp = pytest.importorskip("llama_cpp")
import kvsplice  # noqa: E402

if not hasattr(llama_cpp, "Llama") or not hasattr(kvsplice._core, "Store"):
    pytest.skip("no llama-cpp-python, or a package without stores", allow_module_level=True)
NEEDED = ("KVSPLICE_BINARY", "KVSPLICE_TEST_SERVER", "KVSPLICE_TEST_MODEL")
if not all(os.path.exists(os.environ.get(name, "")) for name in NEEDED):
    pytest.skip("no program, llama-server or model", allow_module_level=True)

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "peers"))
import peer  # noqa: E402
from proxy import Proxy  # noqa: E402

N = 12  # tokens of an answer


@pytest.fixture(scope="module")
def prompt():
    """A text that begins again and again: what follows is sure, also behind cells of which a codec
    or another kind of attention has rounded the last bits, but not behind wrong ones."""
    text = peer.start_of("news.txt", 350)
    return f"{text}\n\n{text}\n\n{text}\n\n{text[:text.index(' residents')]}"


@pytest.fixture(scope="module")
def wanted(prompt):
    """What follows where nothing is cached."""
    return Talker().ask(prompt)[0]


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    """Of this model, made in a hurry; None: lossless."""
    folder = tmp_path_factory.mktemp("codec")
    dump, path = folder / "dump.gguf", folder / "codec.gguf"
    text = os.path.join(os.environ["KVSPLICE_SOURCE_DIR"], "samples", "conversation.txt")
    peer.kvsplice("extract", "-m", peer.MODEL, "-f", text, "-n", 300, "--no-queries", "-o", dump)
    peer.kvsplice("fit", dump, "--codec", "klt | step(delta=0.3) | range", "-o", path)
    return str(path)


@pytest.fixture(params=["lossless", "codec"])
def coded_by(request):
    return None if request.param == "lossless" else request.getfixturevalue("codec")


class Talker:
    """A Llama, the tokens it evaluates one call after the other, and those it answers."""

    def __init__(self, cache=None, **more):
        self.llm = llama_cpp.Llama(peer.MODEL, n_ctx=1024, n_threads=1, n_threads_batch=1,
                                   verbose=False, **more)
        self.evaluated = []
        evaluate = self.llm.eval

        def count(tokens):
            self.evaluated.append(len(tokens))
            evaluate(tokens)

        self.llm.eval = count
        if cache:
            self.llm.set_cache(cache)

    def ask(self, prompt):
        """The likeliest tokens behind the prompt, and how many of it were not evaluated."""
        wanted = self.llm.tokenize(prompt.encode(), special=True)
        before = len(self.evaluated)
        text = self.llm(prompt, max_tokens=N, temperature=0)["choices"][0]["text"]
        calls = self.evaluated[before:]
        looked = 1 if calls[0] == 1 and len(calls) > N else 0  # at what a state is like
        return text, len(wanted) - calls[looked]


def cache_in(folder, codec=None, tenant=""):
    return kvsplice.LlamaCache(codec, model=peer.MODEL, store=os.path.join(folder, "store"),
                               tenant=tenant)


def proxy_in(folder, codec=None):
    return Proxy(folder, "--learn-after", "0", codec=codec)


def ask_proxy(proxy, prompt, key=None):
    """The same of the proxy, and how many tokens it has restored, of how many."""
    answer, headers = proxy.post("/completion", {"prompt": prompt, "n_predict": N, "temperature": 0,
                                                 "cache_prompt": True}, key)
    restored, tokens = map(int, headers["X-KVSplice-Restored"].split("/"))
    return answer["content"], answer["timings"]["cache_n"], restored, tokens


def test_llama_cpp_python_restores_what_the_proxy_stored(prompt, wanted, coded_by, tmp_path):
    with proxy_in(tmp_path, coded_by) as proxy:
        _, cached, restored, tokens = ask_proxy(proxy, prompt, "one")
        assert (cached, restored) == (0, 0) and tokens > 300
        proxy.wait_until_saved()
        # While the proxy has the store open, too.
        text, restored = Talker(cache_in(tmp_path, coded_by, "one")).ask(prompt)
        assert 0.9 * tokens < restored <= tokens and text == wanted
        assert Talker(cache_in(tmp_path, coded_by, "two")).ask(prompt) == (wanted, 0)


def test_the_proxy_restores_what_llama_cpp_python_stored(prompt, wanted, coded_by, tmp_path):
    Talker(cache_in(tmp_path, coded_by, "one")).ask(prompt)
    with proxy_in(tmp_path, coded_by) as proxy:
        text, cached, restored, tokens = ask_proxy(proxy, prompt, "two")
        assert (text, cached, restored) == (wanted, 0, 0)
        text, cached, restored, _ = ask_proxy(proxy, prompt, "one")
        assert 0.9 * tokens < restored <= tokens
        assert 0.9 * tokens < cached <= tokens and text == wanted
    peer.kvsplice("store", "verify", "--store", os.path.join(tmp_path, "store"))


OTHER_PROCESS = """
import sys, warnings
import test_serve as test
warnings.simplefilter("error", RuntimeWarning)
folder, prompt = sys.argv[1:]
text, restored = test.Talker(test.cache_in(folder)).ask(prompt)
print(restored, text, sep="\\n", end="")
"""


@pytest.mark.parametrize("flash_attn", [False, True])
def test_another_process_restores_what_one_stored(prompt, wanted, flash_attn, tmp_path):
    talker = Talker(cache_in(tmp_path), flash_attn=flash_attn)
    assert talker.ask(prompt) == (wanted, 0)
    here = os.path.dirname(__file__)
    paths = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    out = subprocess.run([sys.executable, "-c", OTHER_PROCESS, str(tmp_path), prompt], check=True,
                         env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True)
    restored, text = out.stdout.split("\n", 1)
    tokens = len(talker.llm.tokenize(prompt.encode(), special=True))
    assert 0.9 * tokens < int(restored) <= tokens and text == wanted


def test_a_damaged_store_costs_an_evaluation(prompt, wanted, tmp_path):
    talker = Talker(cache_in(tmp_path))
    assert talker.ask(prompt) == (wanted, 0)
    for path in (tmp_path / "store").glob("objects/*/*.kvo"):
        path.write_bytes(path.read_bytes()[:-7])
    assert Talker(cache_in(tmp_path)).ask(prompt) == (wanted, 0)  # and stores the block anew
    assert Talker(cache_in(tmp_path)).ask(prompt) == (wanted, 256)  # and the tail, now met
    tokens = len(talker.llm.tokenize(prompt.encode(), special=True))
    text, restored = Talker(cache_in(tmp_path)).ask(prompt)
    assert 0.9 * tokens < restored <= tokens and text == wanted
