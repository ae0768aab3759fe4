"""Time to the first token behind `kvsplice serve` after everything was killed, beside llama-server
that evaluates, or restores a slot file of its own; and what the proxy costs.

    serve.py KVSPLICE LLAMA_SERVER MODEL CODEC TEXT TOKENS [TOKENS ...]

CODEC may be empty. Prints one JSON object a line.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

LIMIT = 1800


def say(**what):
    print(json.dumps(what), flush=True)


class Program:
    """Something that listens on a port which it says on its output."""

    def __init__(self, command, pattern):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, errors="replace")
        for line in self.process.stdout:
            found = re.search(pattern, line)
            if found:
                self.port = int(found[1])
                break
        else:
            raise RuntimeError(f"{command[0]} did not start")
        os.set_blocking(self.process.stdout.fileno(), True)
        # Its lines go nowhere, but must be read.
        import threading
        threading.Thread(target=lambda: [None for _ in self.process.stdout], daemon=True).start()

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait()

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None,
                               {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{path}: {answer.status} {text[:300]}")
            return json.loads(text)
        finally:
            connection.close()

    def first_token(self, prompt, n=32, **more):
        """Seconds to the first event of the answer, to its end, and the restored tokens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        body = {"prompt": prompt, "n_predict": n, "stream": True, "temperature": 0,
                "ignore_eos": True, "cache_prompt": True, **more}
        begun = time.perf_counter()
        connection.request("POST", "/completion", json.dumps(body),
                           {"Content-Type": "application/json"})
        answer = connection.getresponse()
        while not answer.readline().startswith(b"data:"):  # pings come before
            pass
        first = time.perf_counter() - begun
        answer.read()
        whole = time.perf_counter() - begun
        restored = int((answer.getheader("X-KVSplice-Restored") or "0/0").split("/")[0])
        connection.close()
        return first, whole, restored


def start_server(server, model, folder, context):
    return Program([server, "-m", model, "-c", str(context), "-np", "1", "--host", "127.0.0.1",
                    "--port", "0", "--slot-save-path", folder, "--cache-ram", "0", "--no-warmup"],
                   r"listening on http://127\.0\.0\.1:(\d+)")


def wait_for(proxy, wanted):
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        status = proxy.ask("GET", "/kvsplice/status")
        if wanted(status):
            return status
        time.sleep(0.05)
    raise RuntimeError("waited in vain")


def start_proxy(kvsplice, server, model, codec, folder, context):
    command = [kvsplice, "serve", "-m", model, "--store", folder, "--port", "0", "--server", server,
               "--save-after", "0.2"]
    if codec:
        command += ["--codec", codec]
    proxy = Program(command + ["--", "-c", str(context), "-np", "1", "--no-warmup"],
                    r"listening at http://127\.0\.0\.1:(\d+)")
    status = wait_for(proxy, lambda s: s["state"] in ("ready", "passing through"))
    if status["state"] != "ready":
        raise RuntimeError(status["why"])
    return proxy


def saved(status):
    return (status["counts"]["stored_objects"] > 0 and status["files_waiting"] == 0
            and not any(slot["to_be_saved"] or slot["busy"] for slot in status["slots"]))


def median(values):
    return sorted(values)[len(values) // 2]


def main():
    kvsplice, server, model, codec, path = sys.argv[1:6]
    lengths = [int(n) for n in sys.argv[6:]]
    context = max(lengths) + 512
    with open(path, errors="replace") as file:
        text = file.read(8 * max(lengths))
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        direct = start_server(server, model, folder, context)
        tokens = direct.ask("POST", "/tokenize", {"content": text, "add_special": True})["tokens"]
        direct.first_token(tokens[:64])
        for n in lengths:
            prompt = tokens[:n]
            direct.ask("POST", "/slots/0?action=erase", {})
            cold = direct.first_token(prompt)[0]
            moved = direct.ask("POST", "/slots/0?action=save", {"filename": "raw"})
            direct.ask("POST", "/slots/0?action=erase", {})
            begun = time.perf_counter()
            direct.ask("POST", "/slots/0?action=restore", {"filename": "raw"})
            raw = time.perf_counter() - begun + direct.first_token(prompt, 1)[0]
            say(what="llama-server", tokens=n, evaluate_s=cold, raw_s=raw,
                raw_bytes=moved["n_written"])
        short = [direct.first_token(tokens[:24], 8)[:2] for _ in range(15)]
        long_direct = direct.first_token(tokens[:24], 256)
        direct.kill()
    with tempfile.TemporaryDirectory() as folder:
        for n in lengths:
            store = os.path.join(folder, f"store-{n}")
            proxy = start_proxy(kvsplice, server, model, codec, store, context)
            cold = proxy.first_token(tokens[:n])[0]
            status = wait_for(proxy, saved)
            proxy.kill()
            proxy = start_proxy(kvsplice, server, model, codec, store, context)
            first, _, restored = proxy.first_token(tokens[:n])
            served = wait_for(proxy, lambda s: s["requests"])["requests"][0]
            with open(f"/proc/{proxy.process.pid}/status") as file:
                peak = int(re.search(r"VmHWM:\s+(\d+)", file.read())[1]) * 1024
            say(what="kvsplice serve", tokens=n, evaluate_s=cold, restored_s=first,
                restored=restored, restore_s=served["restore_seconds"],
                bytes=status["store"]["bytes"], keep_s=status["counts"]["code_seconds"],
                peak_bytes=peak)
            if n != lengths[-1]:
                proxy.kill()
        through = [proxy.first_token(tokens[:24], 8)[:2] for _ in range(15)]
        long_proxy = proxy.first_token(tokens[:24], 256)
        say(what="overhead", direct_first_s=median([s[0] for s in short]),
            proxy_first_s=median([s[0] for s in through]),
            direct_stream_s=long_direct[1] - long_direct[0],
            proxy_stream_s=long_proxy[1] - long_proxy[0])
        with contextlib.suppress(OSError):
            proxy.kill(signal.SIGTERM)


if __name__ == "__main__":
    main()
