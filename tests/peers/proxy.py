"""`kvsplice serve` with a real llama-server behind it, started and ended, and what clients ask."""

import http.client
import json
import os
import re
import signal
import subprocess
import time

import peer

FEWEST = 64  # tokens of a prompt that is kept here
BLOCK = 256  # tokens of an object of the store


class Proxy:
    """Starts the proxy, which starts llama-server, or is told of one that runs: its address and its
    folder of slot files. `folder` keeps the proxy's store and its log."""

    def __init__(self, folder, *options, server_options=(), codec=None, attached=None,
                 model=peer.MODEL):
        self.folder = folder
        self.log_path = os.path.join(folder, "serve.log")
        self.command = [os.environ["KVSPLICE_BINARY"], "serve", "-m", model, "--store",
                        os.path.join(folder, "store"), "--port", "0", "--save-after", "0.2",
                        "--fewest-tokens", str(FEWEST), *options]
        if codec:
            self.command += ["--codec", codec]
        if attached:
            self.command += ["--upstream", attached[0], "--slots-dir", attached[1]]
        else:
            self.command += ["--server", peer.program("llama-server"), "--", "-c", "4096", "-np",
                             "2", "--threads", "1", "--no-warmup", *server_options]
        self.process = None
        self.port = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        self.begin()
        self.wait_until(lambda status: status["state"] in ("ready", "passing through"))

    def begin(self):
        """It listens, and may not be ready yet."""
        with open(self.log_path, "a") as log:
            log.write("--- start\n")
            log.flush()
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=log, text=True,
                                            preexec_fn=peer.end_with_parent)
        first = self.process.stdout.readline()
        found = re.search(r"listening at http://127\.0\.0\.1:(\d+)", first)
        if not found:
            self.process.kill()
            raise AssertionError(f"kvsplice serve did not start: {first}{self.log()[-3000:]}")
        self.port = int(found[1])

    def stop(self, how=signal.SIGTERM):
        if self.process is None:
            return None
        self.process.send_signal(how)
        code = self.process.wait(60)
        self.process.stdout.close()
        self.process = None
        return code

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    # -- requests ---------------------------------------------------------------------------------

    def ask(self, method, path, body=None, headers=None):
        """Status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=peer.LIMIT)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def post(self, path, body, key=None):
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        status, headers, answer = self.ask("POST", path, json.dumps(body), headers)
        if status != 200:
            raise AssertionError(f"POST {path}: {status} {answer.decode()}\n{self.log()[-2000:]}")
        return json.loads(answer), headers

    def chat(self, messages, n=16, key=None, **more):
        """The answer's text, tokens that were not evaluated, tokens that were restored."""
        answer, headers = self.post("/v1/chat/completions",
                                    {"messages": messages, "max_tokens": n, "temperature": 0, **more},
                                    key)
        restored = int(headers["X-KVSplice-Restored"].split("/")[0])
        cached = answer["timings"]["cache_n"]
        return answer["choices"][0]["message"]["content"], cached, restored

    def status(self):
        return json.loads(self.ask("GET", "/kvsplice/status")[2])

    def wait_until(self, wanted):
        end = time.monotonic() + peer.LIMIT
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"kvsplice serve has ended:\n{self.log()[-3000:]}")
            status = self.status()
            if wanted(status):
                return status
            time.sleep(0.05)
        raise AssertionError(f"waited in vain: {self.status()}\n{self.log()[-3000:]}")

    def wait_until_saved(self):
        """Nothing waits to be saved, and something has been."""
        return self.wait_until(
            lambda status: status["counts"]["stored_objects"] > 0 and status["files_waiting"] == 0
            and not any(slot["to_be_saved"] or slot["busy"] for slot in status["slots"]))

    def last_request(self, prompt):
        """The one of as many tokens. It is noted after its answer has ended."""
        def is_noted(status):
            return status["requests"] and status["requests"][0]["prompt_tokens"] == prompt
        return self.wait_until(is_noted)["requests"][0]

    def server_pid(self):
        """Of the llama-server that the proxy has started."""
        found = subprocess.run(["pgrep", "-P", str(self.process.pid)], stdout=subprocess.PIPE,
                               text=True, check=True)
        return int(found.stdout.split()[0])


def conversation(topic, characters=1300):
    """A system prompt of more than a block and less than two, and a question."""
    text = peer.start_of("news.txt", characters)
    return [{"role": "system", "content": f"You know these notes about {topic}:\n{text}"},
            {"role": "user", "content": f"What do the notes say of {topic}?"}]
