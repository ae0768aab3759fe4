#!/usr/bin/env python3
"""`kvsplice serve` as clients see it: openai's and anthropic's for Python, and curl, each of which must
get from the proxy what it gets from llama-server."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import peer
from proxy import Proxy

PYTHON = os.environ["KVSPLICE_TEST_CLIENTS_PYTHON"]


def require():
    """Ends the script as skipped if something is missing; runs it again by the clients' Python."""
    peer.program("llama-server")
    missing = [name for name in (PYTHON, "curl") if not shutil.which(name)]
    if missing:
        print(f"no {', no '.join(missing)}: tools/setup.sh --server gets it")
        sys.exit(peer.SKIPPED)
    if sys.executable != PYTHON:
        os.execv(PYTHON, [PYTHON, *sys.argv])


require()
import anthropic  # noqa: E402
import openai  # noqa: E402

CACHE = peer.CACHES[0]
SERVER = ["-c", "4096", "-np", "2"]
SYSTEM = "You know these notes:\n" + peer.start_of("news.txt", 1000)
QUESTION = [{"role": "user", "content": "What do the notes say?"}]
CHAT = [{"role": "system", "content": SYSTEM}, *QUESTION]
GREEDY = {"temperature": 0, "seed": 1}
N = 8  # tokens of an answer


def setUpModule():
    folder = unittest.enterModuleContext(tempfile.TemporaryDirectory())
    alone = peer.Server(folder, CACHE, *SERVER)
    Both.proxy = Proxy(folder, server_options=[*peer.options_of(CACHE)[2:], *SERVER])
    unittest.enterModuleContext(Both.proxy)
    Both.alone = unittest.enterModuleContext(alone)


class Both(unittest.TestCase):
    """Asks llama-server and the proxy, which has another one behind it, the same."""

    proxy = alone = None

    def addresses(self):
        return self.alone.address, f"http://127.0.0.1:{self.proxy.port}"

    def check_same(self, ask):
        """What both answer, once it is the same."""
        wanted, got = (ask(address) for address in self.addresses())
        self.assertEqual(got, wanted)
        return got


def openai_at(address):
    return openai.OpenAI(base_url=address + "/v1", api_key="x", max_retries=0, timeout=peer.LIMIT)


def usage_of(answer):
    return answer.usage.prompt_tokens, answer.usage.completion_tokens


class OpenAi(Both):
    def test_chats(self):
        def ask(address):
            answer = openai_at(address).chat.completions.create(
                model="any", messages=CHAT, max_tokens=N, **GREEDY)
            choice = answer.choices[0]
            return choice.message.content, choice.finish_reason, usage_of(answer), answer.model
        text, reason, usage, _ = self.check_same(ask)
        self.assertEqual((reason, usage[1]), ("length", N))
        self.assertGreater(len(text), N)

    def test_streams(self):
        def ask(address):
            stream = openai_at(address).chat.completions.create(
                model="any", messages=CHAT, max_tokens=N, stream=True,
                stream_options={"include_usage": True}, **GREEDY)
            return [(one.choices[0].delta.content, one.choices[0].finish_reason)
                    if one.choices else usage_of(one) for one in stream]
        self.assertGreater(len(self.check_same(ask)), N)

    def test_several_answers_and_probabilities(self):
        def ask(address):
            answer = openai_at(address).chat.completions.create(
                model="any", messages=CHAT, max_tokens=3, n=2, logprobs=True, top_logprobs=2,
                **GREEDY)
            return [(choice.message.content, [one.token for one in choice.logprobs.content])
                    for choice in answer.choices]
        self.assertEqual(len(self.check_same(ask)), 2)

    def test_completions(self):
        def ask(address):
            client = openai_at(address)
            answer = client.completions.create(model="any", prompt=SYSTEM, max_tokens=N, **GREEDY)
            stream = client.completions.create(model="any", prompt=SYSTEM, max_tokens=N,
                                               stream=True, **GREEDY)
            pieces = [one.choices[0].text for one in stream]
            self.assertEqual("".join(pieces), answer.choices[0].text)
            return pieces, usage_of(answer)
        self.check_same(ask)

    def test_responses(self):
        def ask(address):
            client = openai_at(address)
            asked = {"model": "any", "instructions": SYSTEM, "input": QUESTION,
                     "max_output_tokens": N, "temperature": 0}
            answer = client.responses.create(**asked)
            with client.responses.create(**asked, stream=True) as stream:
                kinds = [event.type for event in stream]
            return answer.output_text, answer.usage.input_tokens, kinds
        self.assertIn("response.completed", self.check_same(ask)[2])

    def test_models(self):
        def ask(address):
            return [(one.id, one.object, one.meta) for one in openai_at(address).models.list()]
        self.check_same(ask)

    def test_refusals(self):
        def refused(address, call):
            with self.assertRaises(openai.APIStatusError) as caught:
                call(openai_at(address))
            return type(caught.exception), caught.exception.status_code, caught.exception.body
        for call in (lambda c: c.embeddings.create(model="any", input="a text"),
                     lambda c: c.chat.completions.create(model="any", messages=[{"role": 1}]),
                     lambda c: c.chat.completions.create(model="any", messages=7),
                     lambda c: c.completions.create(model="any", prompt="x " * 9000),
                     lambda c: c.files.list()):
            self.check_same(lambda address, call=call: refused(address, call))

    def test_a_second_turn_is_restored_after_a_restart(self):
        turn = CHAT + [{"role": "assistant", "content": "Much."}, QUESTION[0]]

        def ask(address, messages):
            raw = openai_at(address).chat.completions.with_raw_response.create(
                model="any", messages=messages, max_tokens=N, **GREEDY)
            return raw.parse().choices[0].message.content, raw.headers
        for address in self.addresses():
            ask(address, CHAT)
        self.proxy.wait_until_saved()
        self.proxy.stop(signal.SIGKILL)
        self.proxy.start()
        (wanted, _), (got, headers) = (ask(address, turn) for address in self.addresses())
        restored, prompt = map(int, headers["X-KVSplice-Restored"].split("/"))
        self.assertGreater(restored, prompt * 3 // 4)
        self.assertEqual(got, wanted)

    def test_a_client_that_leaves_stops_the_work(self):
        _, address = self.addresses()
        stream = openai_at(address).chat.completions.create(
            model="any", messages=QUESTION, max_tokens=3000, stream=True,
            extra_body={"ignore_eos": True})
        for _ in zip(range(4), stream):
            pass
        self.assertTrue(any(slot["is_processing"] for slot in self.slots()))
        stream.close()
        end = time.monotonic() + 20
        while any(slot["is_processing"] for slot in self.slots()):
            self.assertLess(time.monotonic(), end, "the server works for nobody")
            time.sleep(0.05)

    def slots(self):
        return json.loads(self.proxy.ask("GET", "/slots")[2])


class Anthropic(Both):
    def client(self, address):
        return anthropic.Anthropic(base_url=address, api_key="x", max_retries=0,
                                   timeout=peer.LIMIT)

    def test_messages(self):
        asked = {"model": "any", "system": SYSTEM, "messages": QUESTION, "max_tokens": N,
                 "extra_body": GREEDY}

        def ask(address):
            client = self.client(address)
            answer = client.messages.create(**asked)
            with client.messages.stream(**asked) as stream:
                pieces = list(stream.text_stream)
            self.assertEqual("".join(pieces), answer.content[0].text)
            counted = client.messages.count_tokens(model="any", system=SYSTEM, messages=QUESTION)
            return pieces, answer.stop_reason, answer.usage.output_tokens, counted.input_tokens
        self.assertEqual(self.check_same(ask)[1:3], ("max_tokens", N))


class Curl(Both):
    def curl(self, *arguments, given=None):
        done = subprocess.run(["curl", "-sS", "--max-time", str(peer.LIMIT), *arguments],
                              input=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def exchange(self, address, path, *arguments, given=None):
        """Status, headers less those that tell of the connection or are the proxy's, body."""
        whole = self.curl("-i", *arguments, address + path, given=given)
        while True:
            head, _, rest = whole.partition(b"\r\n\r\n")
            if b" 100 " not in head.split(b"\r\n")[0]:
                break
            whole = rest
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return first, {name: value for name, value in headers.items()
                       if name != "keep-alive" and not name.startswith("x-kvsplice")}, rest

    def check_same_exchange(self, path, *arguments, given=None):
        return self.check_same(
            lambda address: self.exchange(address, path, *arguments, given=given))

    def test_methods_and_origins(self):
        origin = ["-H", "Origin: http://page.example"]
        for path, *arguments in (
                ["/health"], ["/health", "-I"], ["/health", "-0"], ["/health", *origin],
                ["/health", "-H", "Connection: close"], ["/health", "--compressed"],
                ["/v1/chat/completions", "-X", "OPTIONS", *origin, "-H",
                 "Access-Control-Request-Method: POST", "-H",
                 "Access-Control-Request-Headers: content-type"],
                ["/no/such%20page?a=%2F"], ["/none", "-X", "DELETE"], ["/none", "-T", "-"],
                ["/v1/chat/completions"], ["/v1/audio/transcriptions", "-F", "file=@-"],
                ["/tokenize", "-d", "content=a+b"], ["/tokenize", "-d", ""], ["/health", "-r", "0-3"],
                ["/health", "-r", "900-"]):
            with self.subTest(path=path, arguments=arguments):
                self.check_same_exchange(path, *arguments, given=b"abc")

    def test_codings_are_refused(self):
        """By the proxy itself, which must read bodies."""
        self.check_same(lambda address: self.exchange(
            address, "/tokenize", "-H", "Content-Encoding: gzip", "-d", "{}")[0])

    def test_large_bodies(self):
        text = peer.start_of("fiction.txt", 20_000)
        body = json.dumps({"content": text * (1_200_000 // len(text))}).encode()
        self.assertGreater(len(body), 1 << 20)
        kind = ["-H", "Content-Type: application/json", "--data-binary", "@-"]
        _, _, plain = self.check_same_exchange("/tokenize", *kind, given=body)
        self.assertGreater(len(json.loads(plain)["tokens"]), 200_000)
        for more in (["-H", "Expect: 100-continue"], ["-H", "Transfer-Encoding: chunked"], ["-0"]):
            with self.subTest(more=more):
                _, address = self.addresses()
                self.assertEqual(self.exchange(address, "/tokenize", *kind, *more, given=body)[2],
                                 plain)

    def test_streams(self):
        body = json.dumps({"messages": CHAT, "max_tokens": N, "stream": True, **GREEDY}).encode()

        def ask(address, *more):
            _, headers, answer = self.exchange(address, "/v1/chat/completions", "-N", "-H",
                                               "Content-Type: application/json", "-d", "@-", *more,
                                               given=body)
            events = [line[6:] for line in answer.split(b"\n") if line.startswith(b"data: ")]
            texts = [json.loads(event)["choices"][0]["delta"] for event in events[:-1]]
            return headers, texts, events[-1]
        for more in ([], ["-0"], ["-H", "Connection: close"]):
            with self.subTest(more=more):
                self.assertEqual(self.check_same(lambda a: ask(a, *more))[2], b"[DONE]")

    def test_connections_are_kept(self):
        def connects(address, *arguments):
            said = self.curl(*arguments, "-o", "/dev/null", "-o", "/dev/null", "-w",
                             "%{num_connects} ", address + "/health", address + "/props")
            return said.split()
        self.assertEqual(self.check_same(connects), [b"1", b"0"])
        self.assertEqual(self.check_same(lambda a: connects(a, "-H", "Connection: close")),
                         [b"1", b"1"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
