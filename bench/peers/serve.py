"""What `kvsplice serve` is worth, beside llama-server alone, its --cache-ram, and hearth-llm.

    serve.py first   --kvsplice K --server S -m M [--codec C] [--hearth H] --text F --tokens 1024 4096
    serve.py agents  ... --requests 200          # ten conversations in turns, two restarts
    serve.py streams ...                         # what the proxy costs where it can give nothing

first: the first token of a conversation's next turn after everything was killed. All programs
answer the same chats. Prints one JSON object a line; --bench: as `kvsplice bench` reads them.
"""

import argparse
import concurrent.futures
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

LIMIT = 1800  # seconds


def say(**what):
    print(json.dumps(what), flush=True)


# --- programs ------------------------------------------------------------------------------------


class Program:
    """Listens on a port of loopback, which it says in its output."""

    def __init__(self, command, pattern):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, errors="replace",
                                        start_new_session=True)
        last = ""
        for last in self.process.stdout:
            found = re.search(pattern, last)
            if found:
                self.port = int(found[1])
                break
        else:
            raise RuntimeError(f"{command[0]} did not start: {last}")
        threading.Thread(target=lambda: [None for _ in self.process.stdout], daemon=True).start()

    def end(self, how=signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            if how == signal.SIGKILL:
                os.killpg(self.process.pid, how)
            else:
                self.process.send_signal(how)
        self.process.wait()

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None,
                               {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{path}: {answer.status} {text[:300]}")
            return json.loads(text)
        finally:
            connection.close()

    def chat(self, messages, n):
        """Streams an answer of n tokens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        body = {"messages": messages, "max_tokens": n, "stream": True, "temperature": 0,
                "ignore_eos": True, "model": "any"}
        begun = time.perf_counter()
        connection.request("POST", "/v1/chat/completions", json.dumps(body),
                           {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text, first, timings = "", None, {}
        for line in answer:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            timings = event.get("timings", timings)
            piece = (event["choices"] or [{}])[0].get("delta", {}).get("content")
            if piece and first is None:
                first = time.perf_counter() - begun
            text += piece or ""
        whole = time.perf_counter() - begun
        connection.close()
        return {"text": text, "first_s": first, "whole_s": whole, "cached": timings.get("cache_n", 0),
                "evaluated": timings.get("prompt_n", 0)}


def llama_server(args, context, slots, *more):
    return Program([args.server, "-m", args.model, "-c", str(context), "-np", str(slots), "--host",
                    "127.0.0.1", "--port", "0", "--no-warmup", *more],
                   r"listening on http://127\.0\.0\.1:(\d+)")


class Alone:
    name = "llama-server"
    slots = 2

    def __init__(self, args, folder, context, cache_mib=0):
        self.args, self.folder, self.context = args, folder, context
        self.cache = str(cache_mib)
        self.front = self.behind = None

    def start(self):
        self.front = llama_server(self.args, self.context * self.slots, self.slots,
                                  "--cache-ram", self.cache)
        return self.front

    def settle(self):
        pass

    def end(self, how=signal.SIGKILL):
        for program in (self.front, self.behind):
            if program:
                program.end(how)

    close = end  # for good

    def stored_bytes(self):
        return 0


class WithRam(Alone):
    name = "llama-server --cache-ram 8192"

    def __init__(self, args, folder, context):
        super().__init__(args, folder, context, 8192)


class Hearth(Alone):
    name = "hearth-llm"
    slots = 1

    def start(self):
        self.behind = llama_server(self.args, self.context, 1, "--cache-ram", "0",
                                   "--slot-save-path", self.folder)
        port = free_port()
        self.front = Program([self.args.hearth, "serve", "--upstream",
                              f"http://127.0.0.1:{self.behind.port}", "--port", str(port),
                              "--cache-dir", self.folder], r"127\.0\.0\.1:(" + str(port) + ")")
        until_it_answers(self.front)
        return self.front

    def settle(self):
        time.sleep(1)  # it saves before it ends its answer

    def stored_bytes(self):
        return bytes_in(self.folder)


class Serve(Alone):
    name = "kvsplice serve"
    more = ()

    def start(self):
        command = [self.args.kvsplice, "serve", "-m", self.args.model, "--store", self.folder,
                   "--port", "0", "--server", self.args.server, "--save-after", "0.2", *self.more]
        if self.args.codec:
            command += ["--codec", self.args.codec]
        self.front = Program(command + ["--", "-c", str(self.context * self.slots), "-np",
                                        str(self.slots), "--no-warmup"],
                             r"listening at http://127\.0\.0\.1:(\d+)")
        status = self.wait(lambda s: s["state"] in ("ready", "passing through"))
        if status["state"] != "ready":
            raise RuntimeError(status["why"])
        return self.front

    def wait(self, wanted):
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            status = self.front.ask("GET", "/kvsplice/status")
            if wanted(status):
                return status
            time.sleep(0.05)
        raise RuntimeError("waited in vain")

    def settle(self):
        self.wait(lambda s: s["files_waiting"] == 0
                  and not any(slot["to_be_saved"] or slot["busy"] for slot in s["slots"]))

    def stored_bytes(self):
        return self.front.ask("GET", "/kvsplice/status")["store"]["bytes"]


class ServeHot(Serve):
    name = "kvsplice serve --hot 1G, the server killed"
    more = ("--hot", "1G")

    def end(self, how=signal.SIGKILL):
        if how != signal.SIGKILL:
            return super().end(how)
        for pid in subprocess.run(["pgrep", "-P", str(self.front.process.pid)], text=True,
                                  stdout=subprocess.PIPE, check=True).stdout.split():
            os.kill(int(pid), signal.SIGKILL)

    def start(self):
        if self.front is None:
            return super().start()
        self.wait(lambda s: s["server"]["starts"] == 2 and s["state"] == "ready")
        return self.front


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until_it_answers(program):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            program.ask("GET", "/health")
            return
        time.sleep(0.1)
    raise RuntimeError("no answer")


def bytes_in(folder):
    return sum(os.path.getsize(os.path.join(where, name))
               for where, _, names in os.walk(folder) for name in names)


def kinds(args, *all_of):
    return [kind for kind in all_of if kind is not Hearth or args.hearth]


@contextlib.contextmanager
def running(kind, args, context):
    where = "/dev/shm" if kind is Hearth else None  # as slot files of ours
    with tempfile.TemporaryDirectory(dir=where) as folder:
        program = kind(args, folder, context)
        try:
            program.start()
            yield program
        finally:
            program.close()


# --- what is measured ----------------------------------------------------------------------------


def characters_of(server, text, tokens):
    """So much of the text that it has this many tokens."""
    ids = server.ask("POST", "/tokenize", {"content": text})["tokens"][:tokens]
    return server.ask("POST", "/detokenize", {"tokens": ids})["content"]


def raw_file(args, messages, context):
    """llama-server's own slot file: its bytes, and the first token behind it."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        server = llama_server(args, context, 1, "--cache-ram", "0", "--slot-save-path", folder)
        try:
            server.chat(messages, 1)
            moved = server.ask("POST", "/slots/0?action=save", {"filename": "raw"})
            server.ask("POST", "/slots/0?action=erase", {})
            begun = time.perf_counter()
            server.ask("POST", "/slots/0?action=restore", {"filename": "raw"})
            seconds = time.perf_counter() - begun
            return {"first_s": seconds + server.chat(messages, 1)["first_s"],
                    "bytes": moved["n_written"]}
        finally:
            server.end()


def first(args):
    with open(args.text, errors="replace") as file:
        text = file.read()
    probe = llama_server(args, 512, 1)
    parts = {n: characters_of(probe, text, n - 64) for n in args.tokens}
    probe.end()
    for n, part in parts.items():
        context = n + 256
        begun = [{"role": "user", "content": part + "\nWhat is this about?"}]
        raw = raw_file(args, begun, context)
        if args.bench:
            say(peer=f"slot file of its own, {n}", ms=1e3 * raw["first_s"])
        else:
            say(part="first", tokens=n, program="llama-server, a slot file of its own", **raw)
        for kind in kinds(args, Alone, Hearth, Serve, ServeHot):
            with running(kind, args, context) as program:
                answer = program.front.chat(begun, 16)
                turn = begun + [{"role": "assistant", "content": answer["text"]},
                                {"role": "user", "content": "And what else?"}]
                program.settle()
                stored = program.stored_bytes()
                program.end()
                front = program.start()
                again = front.chat(turn, 16)
            if args.bench:
                say(peer=f"{kind.name}, {n}", ms=1e3 * again["first_s"])
            else:
                say(part="first", tokens=n, program=kind.name, first_s=again["first_s"],
                    cached=again["cached"], evaluated=again["evaluated"], bytes=stored)


class Agent:
    """A conversation behind a common system prompt."""

    def __init__(self, number, system, text):
        self.messages = [{"role": "system", "content": system}]
        self.text, self.number, self.turn = text, number, 0

    def ask(self):
        at = (997 * self.number + 211 * self.turn) % (len(self.text) - 300)
        self.turn += 1
        self.messages.append({"role": "user",
                              "content": f"Agent {self.number}: {self.text[at:at + 200]}"})

    def take(self, answer):
        self.messages.append({"role": "assistant", "content": answer})


class Perfect:
    """What a store that forgets nothing would have: tokens of each prompt that were seen before."""

    def __init__(self):
        self.seen = []
        self.tokens = 0

    def note(self, front, agent, answer):
        def tokens_of(messages):
            prompt = front.ask("POST", "/apply-template", {"messages": messages})["prompt"]
            return front.ask("POST", "/tokenize", {"content": prompt, "add_special": True,
                                                   "parse_special": True})["tokens"]
        prompt = tokens_of(agent.messages)
        self.tokens += min(max((shared(prompt, other) for other in self.seen), default=0),
                           len(prompt) - 1)
        self.seen.append(tokens_of(agent.messages + [{"role": "assistant", "content": answer}]))


def shared(a, b):
    n = 0
    for x, y in zip(a, b):
        if x != y:
            break
        n += 1
    return n


def agents(args):
    with open(args.text, errors="replace") as file:
        text = file.read()
    system, rest = text[:2400], text[2400:]
    for kind in kinds(args, Alone, WithRam, Hearth, Serve):
        with running(kind, args, 4096) as program:
            all_of = [Agent(i, system, rest) for i in range(10)]
            perfect, cached, prompts, waited = Perfect(), 0, 0, 0.0
            begun = time.perf_counter()
            for i in range(args.requests):
                if i > 0 and i % (args.requests // 3 + 1) == 0:
                    program.settle()
                    program.end(signal.SIGTERM)
                    program.start()
                agent = all_of[(7 * i + i // 10) % 10]
                agent.ask()
                answer = program.front.chat(agent.messages, 16)
                perfect.note(program.front, agent, answer["text"])
                agent.take(answer["text"])
                cached += answer["cached"]
                prompts += answer["cached"] + answer["evaluated"]
                waited += answer["first_s"] or 0
            program.settle()
            say(part="agents", program=kind.name, slots=kind.slots, requests=args.requests,
                prompt_tokens=prompts, cached=cached, perfect=perfect.tokens,
                of_perfect=cached / perfect.tokens, first_s=waited,
                seconds=time.perf_counter() - begun, bytes=program.stored_bytes())


def streams(args):
    """Short prompts, which nothing is restored for, at both in turns."""
    begun = [{"role": "user", "content": "Tell me of the sea."}]
    with running(Alone, args, 2048) as alone, running(Serve, args, 2048) as behind:
        fronts = {"direct": alone.front, "proxy": behind.front}
        for front in fronts.values():
            front.chat(begun, 16)
        times = {name: [] for name in fronts}
        for _ in range(25):
            for name, front in fronts.items():
                times[name].append(front.chat(begun, 2)["first_s"])
        firsts = {name: statistics.median(t) for name, t in times.items()}
        say(part="streams", what="first token", direct_s=firsts["direct"],
            proxy_s=firsts["proxy"], more_ms=1e3 * (firsts["proxy"] - firsts["direct"]))
        for clients in (1, 8):
            per_second = {name: [] for name in fronts}
            for _ in range(args.rounds):
                for name, front in fronts.items():
                    per_second[name].append(rate(front, begun, clients, 128))
            mean = {name: statistics.median(rates) for name, rates in per_second.items()}
            say(part="streams", what="tokens a second", clients=clients, direct=mean["direct"],
                proxy=mean["proxy"], share=mean["proxy"] / mean["direct"])


def rate(front, messages, clients, n):
    begun = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        for answer in [pool.submit(front.chat, messages, n) for _ in range(clients)]:
            answer.result()
    return clients * n / (time.perf_counter() - begun)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=["first", "agents", "streams"])
    parser.add_argument("--kvsplice", required=True)
    parser.add_argument("--server", required=True, help="llama-server")
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--codec", default="", help="none: without loss")
    parser.add_argument("--hearth", default="", help="the program of hearth-llm; none: left out")
    parser.add_argument("--text", help="a file of prose")
    parser.add_argument("--tokens", type=int, nargs="+", default=[1024, 4096])
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--bench", action="store_true")
    args = parser.parse_args()
    {"first": first, "agents": agents, "streams": streams}[args.part](args)


if __name__ == "__main__":
    sys.exit(main())
