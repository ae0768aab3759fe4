"""llama.cpp's own programs, started and ended, and the way through a packed session and back."""

import contextlib
import ctypes
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request

SKIPPED = 77  # what ctest takes for "skipped"
LIMIT = 120  # seconds that anything may take here
CONTEXT = 2048
MODEL = os.environ["KVSPLICE_TEST_MODEL"]


def program(name):
    """The path of llama-server or llama-completion. LLAMA_SERVER and LLAMA_COMPLETION name others
    than those of the set-up."""
    variable = name.upper().replace("-", "_")
    path = os.environ.get(variable) or os.environ[variable.replace("LLAMA", "KVSPLICE_TEST")]
    if not os.path.exists(path):
        print(f"no {name} at '{path}': tools/setup.sh --server builds it, or {variable} names one")
        sys.exit(SKIPPED)
    return path


# Flash attention, type of keys, type of values: llama.cpp wants flash attention for values that are
# not plain.
CACHES = [("on", "f16", "f16"), ("on", "q8_0", "q8_0"), ("off", "f16", "f16"),
          ("off", "q8_0", "f16")]


def start_of(sample, characters):
    with open(os.path.join(os.environ["KVSPLICE_SOURCE_DIR"], "samples", sample)) as file:
        return file.read(characters)


def options_of(cache):
    """Options of a program of llama.cpp for a cache like this."""
    flash_attention, keys, values = cache
    return ["-m", MODEL, "--threads", "1", "--no-warmup", "-fa", flash_attention, "-ctk", keys,
            "-ctv", values]


# -- kvsplice -------------------------------------------------------------------------------------


def kvsplice(*arguments):
    done = subprocess.run([os.environ["KVSPLICE_BINARY"], *map(str, arguments)], timeout=LIMIT,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise AssertionError(f"kvsplice {' '.join(map(str, arguments))}: {done.stdout}")
    return done.stdout


def detour(state, *wishes):
    """Packs a state and unpacks it as wished; the path of the new one."""
    packed, back = state + ".kvz", state + ".back"
    kvsplice("pack", state, "-m", MODEL, "--lossless", "-o", packed)
    kvsplice("unpack", packed, "-m", MODEL, "-o", back, *wishes)
    return back


def wishes(state, form, cache, streams=1):
    """Options of unpack for a cache of this kind in a program as old as the one that wrote `state`."""
    flash_attention, keys, values = cache
    return ["--form", form, "--state-version", version_of(form, state), "--type", f"{keys},{values}",
            "--flash-attention", flash_attention, "--streams", streams]


def version_of(form, state):
    with open(state, "rb") as file:
        _, version = struct.unpack("<II", file.read(8))
    older = version in (3, 10)
    return {"sequence": 3 if older else 4, "session": 10 if older else 11}[form]


# -- llama-server ---------------------------------------------------------------------------------


def end_with_parent():
    """Of a child: a server must not outlive a test that is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Server:
    def __init__(self, folder, cache, *options):
        self.folder = folder
        self.log_path = os.path.join(folder, "server.log")
        command = [program("llama-server"), *options_of(cache), "-c", str(CONTEXT), "--host",
                   "127.0.0.1", "--port", "0", "--slot-save-path", folder, "--cache-ram", "0",
                   *options]
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, preexec_fn=end_with_parent)
        self.address = None

    def __enter__(self):
        try:
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.process.wait(10)

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def wait_until_ready(self):
        """It says on which free port it listens once the model is there."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end and self.process.poll() is None:
            found = re.search(r"listening on (http://\S+)", self.log())
            if found:
                self.address = found[1]
                return
            time.sleep(0.05)
        raise AssertionError(f"llama-server did not start:\n{self.log()[-3000:]}")

    def post(self, path, **body):
        request = urllib.request.Request(self.address + path, json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=LIMIT) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(
                f"POST {path}: {error.read().decode()}\n{self.log()[-2000:]}") from None

    def tokens_of(self, text):
        return self.post("/tokenize", content=text, add_special=True)["tokens"]

    def text_of(self, tokens):
        return self.post("/detokenize", tokens=tokens)["content"]

    def complete(self, slot, tokens, n):
        """The likeliest n tokens, and how many of `tokens` were in the cache."""
        answer = self.post("/completion", prompt=tokens, n_predict=n, id_slot=slot, temperature=0,
                           ignore_eos=True, cache_prompt=True, return_tokens=True)
        assert len(answer["tokens"]) == n, answer
        return answer["tokens"], answer["timings"]["cache_n"]

    def save(self, slot, name):
        saved = self.post(f"/slots/{slot}?action=save", filename=name)["n_saved"]
        return os.path.join(self.folder, name), saved

    def restore(self, slot, path):
        self.erase(slot)
        return self.post(f"/slots/{slot}?action=restore", filename=os.path.basename(path))[
            "n_restored"]

    def erase(self, slot):
        self.post(f"/slots/{slot}?action=erase")


# -- llama-completion -----------------------------------------------------------------------------


def complete(cache, session, prompt, n, *options):
    """What llama-completion prints, with what the session holds, and what it says beside."""
    command = [program("llama-completion"), *options_of(cache), "-c", str(CONTEXT), "-no-cnv",
               "--temp", "0", "--ignore-eos", "-n", str(n), "-p", prompt, "--prompt-cache", session,
               *options]
    done = subprocess.run(command, timeout=LIMIT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, errors="replace")
    if done.returncode != 0:
        raise AssertionError(f"llama-completion: {done.stderr[-3000:]}")
    return done.stdout, done.stderr


def go_on(cache, session, n):
    """What is printed if all of a session is loaded, and nothing else evaluated."""
    printed, said = complete(cache, session, "", n, "--prompt-cache-ro")
    for wanted in ("loaded a session with prompt size of", "replayed last token from session"):
        if wanted not in said:
            raise AssertionError(f"llama-completion does not say '{wanted}':\n{said[-3000:]}")
    return printed
