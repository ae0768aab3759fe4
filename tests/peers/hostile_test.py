#!/usr/bin/env python3
"""`kvsplice serve` and clients that mean harm: requests that two servers may read differently, and ways
to what lies in slots for others. Behind it stands stub_server.py."""

import contextlib
import json
import os
import socket
import tempfile
import time
import unittest

import peer
import stub_server
from proxy import Proxy
from stub_server import Stub

JSON = {"Content-Type": "application/json"}
LONG = [{"role": "system", "content": peer.start_of("news.txt", 300)},
        {"role": "user", "content": "What is new?"}]
OTHER = [{"role": "user", "content": peer.start_of("fiction.txt", 150)}]
BODY = b'{"prompt": "abc", "n_predict": 2}'
HEAD = b"POST /completion HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
SMUGGLED = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"


class Behind(unittest.TestCase):
    """A server of its own for each test, without its keys or sleep unless it asks for them."""

    options, slots = (), 1

    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        slots = os.path.join(self.folder, "slots")
        os.mkdir(slots)
        self.server = self.enterContext(Stub(slots, self.slots))
        self.proxy = Proxy(self.folder, "--learn-after", "0", *self.options,
                           attached=(self.server.address, slots))

    def ask(self, body, key=None, path="/v1/chat/completions"):
        """Status, headers and body."""
        headers = {**JSON, "Authorization": f"Bearer {key}"} if key else JSON
        return self.proxy.ask("POST", path, json.dumps(body), headers)

    def cached(self, body, key=None):
        status, _, answer = self.ask(body, key)
        self.assertEqual(status, 200, answer)
        return json.loads(answer)["timings"]["cache_n"]

    def asked_for(self, path):
        return [seen for seen in self.server.seen if seen[1].startswith(path)]


class Framing(Behind):
    """Where a request ends must not be a matter of opinion."""

    def setUp(self):
        super().setUp()
        self.enterContext(self.proxy)

    def send(self, data, seconds=0.7):
        """All that comes back in so much time."""
        del self.server.seen[:]
        with socket.create_connection(("127.0.0.1", self.proxy.port), 10) as client:
            client.sendall(data)
            client.settimeout(seconds)
            got = b""
            with contextlib.suppress(TimeoutError, ConnectionResetError):
                while piece := client.recv(65536):
                    got += piece
            return got

    def test_requests_of_two_lengths_are_refused(self):
        length = b"Content-Length: %d\r\n" % len(BODY)
        chunked = b"Transfer-Encoding: chunked\r\n"
        heads = [length + b"Content-Length: 0\r\n", b"Content-Length: 3, 33\r\n",
                 b"Content-Length: 5\r\n" + chunked, b"Transfer-Encoding: xchunked\r\n",
                 b"Transfer-Encoding : chunked\r\n" + length, length + b"X-A: b\r\n c\r\n",
                 length + b"X-A: b\0c\r\n", length + b"X-A: b\rX-Api-Key: c\r\n",
                 b"Content-Length: -1\r\n", b"Content-Length: +33\r\n"]
        for head in heads:
            for body in (BODY + SMUGGLED, b"0\r\n\r\n" + SMUGGLED):
                with self.subTest(head=head, body=body[:8]):
                    got = self.send(HEAD + head + b"\r\n" + body)
                    self.assertTrue(got.startswith(b"HTTP/1.1 400 "), got[:60])
                    self.assertEqual(got.count(b"HTTP/1.1 "), 1)
                    self.assertEqual(self.server.seen, [])
        self.assertEqual(self.ask({"messages": OTHER, "max_tokens": 2})[0], 200)

    def test_a_body_in_chunks_is_whole(self):
        chunks = b"%x;a=b\r\n%s\r\n0\r\nX-Trailer: y\r\n\r\n" % (len(BODY), BODY)
        got = self.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
        self.assertTrue(got.startswith(b"HTTP/1.1 200 "), got[:60])
        seen = json.loads(self.asked_for("/completion")[0][3])
        self.assertEqual((seen["prompt"], seen["n_predict"]), ("abc", 2))

    def test_what_is_of_one_connection_goes_no_further(self):
        self.send(HEAD + b"Connection: X-Hop, close\r\nX-Hop: 1\r\nUpgrade: websocket\r\nTE: gzip\r\n"
                  b"X-Other: 2\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
        _, _, headers, _ = self.asked_for("/completion")[0]
        self.assertEqual(headers.get("X-Other"), "2")
        for name in ("X-Hop", "Upgrade", "TE"):
            self.assertNotIn(name, headers)

    def test_no_spelling_of_a_path_moves_slots(self):
        for path in (b"/slots/0", b"/%73lots/0", b"/slots%2f0", b"/slots/0%0a", b"/slots/0/"):
            with self.subTest(path=path):
                got = self.send(b"POST %s?action=erase HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
                                % path)
                self.assertRegex(got, rb"^HTTP/1.1 40[34] ")
                self.assertEqual(self.server.seen, [])

    def test_odd_requests_harm_nobody(self):
        odd = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100, b"\r\n\r\n", b"\0" * 5000,
               b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
               b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 100_000 + b"\r\n\r\n",
               b"GET / HTTP/1.1\r\n" + b"X-A: a\r\n" * 5000 + b"\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
               b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
               HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n" + BODY,
               b"GET /%00/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
               b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
               b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"]
        for data in odd:
            with self.subTest(data=data[:30]):
                self.assertNotIn(b"HTTP/1.1 101", self.send(data))
                self.assertEqual(self.ask({"messages": OTHER, "max_tokens": 2})[0], 200)


class Slots(Behind):
    """The server finds what lies in a slot by itself, for whoever is given that slot."""

    def setUp(self):
        super().setUp()
        self.enterContext(self.proxy)
        self.assertEqual(self.cached({"messages": LONG, "max_tokens": 4}, "one"), 0)
        self.assertGreater(self.cached({"messages": LONG, "max_tokens": 4}, "one"), 250)

    def test_a_body_that_only_the_server_understands_finds_nothing(self):
        deep = json.loads("[" * 600 + "]" * 600)
        body = {"messages": LONG, "max_tokens": 4, "deep": deep}
        self.assertEqual(self.cached(body, "two"), 0)
        self.assertEqual(self.cached({"messages": LONG, "max_tokens": 4}, "three"), 0)

    def test_other_work_of_the_server_finds_nothing(self):
        for path in ("/v1/audio/transcriptions", "/v1/embeddings", "/infill"):
            with self.subTest(path=path):
                self.cached({"messages": LONG, "max_tokens": 4}, "one")
                del self.server.seen[:]
                self.ask({"input": "a"}, "two", path)
                paths = [seen[1] for seen in self.server.seen]
                self.assertEqual(paths[-1], path)
                self.assertIn("/slots/0?action=erase", paths)

    def test_a_server_that_slept_is_given_the_cells_again(self):
        self.proxy.wait_until_saved()
        self.server.fall_asleep()
        time.sleep(1)
        status, headers, _ = self.ask({"messages": LONG, "max_tokens": 4}, "one")
        self.assertEqual(status, 200)
        self.assertGreater(int(headers["X-KVSplice-Restored"].split("/")[0]), 250)


class TwoSlots(Behind):
    slots = 2

    def test_a_slot_that_the_server_has_emptied_tells_nothing_of_the_other(self):
        first, second = ({"messages": [{"role": "user", "content": name + LONG[0]["content"]}],
                          "max_tokens": 4} for name in ("A", "B"))
        with self.proxy:
            self.cached(first, "one")
            where = next(slot for slot in self.server.slots if slot.tokens)
            self.cached(second, "two")
            where.tokens = []  # to make room
            self.assertEqual(self.cached(first, "one"), 0)
            self.assertEqual(self.cached(second, "three"), 0)
            self.proxy.wait_until_saved()
            status, headers, _ = self.ask(second, "two")  # it was saved
            self.assertGreater(int(headers["X-KVSplice-Restored"].split("/")[0]), 250)


class ServerThatRuns(Behind):
    slots = 3

    def test_what_others_have_asked_before_is_not_found(self):
        for slot in self.server.slots:
            slot.tokens = stub_server.tokens_of(stub_server.template(LONG))
        with self.proxy:
            for key in ("one", "two", "three"):
                self.assertEqual(self.cached({"messages": LONG, "max_tokens": 4}, key), 0)


class Keys(Behind):
    options = ("--api-key", "ours")

    def setUp(self):
        super().setUp()
        self.server.keys = {"ours", "theirs"}

    def test_who_has_no_key_learns_nothing(self):
        self.proxy.begin()
        self.addCleanup(self.proxy.stop)
        self.wait_until_ready()
        body = {"messages": LONG, "max_tokens": 4}
        self.cached(body, "ours")
        for key in (None, "wrong", "our"):
            with self.subTest(key=key):
                del self.server.seen[:]
                status, headers, answer = self.ask(body, key)
                self.assertEqual((status, json.loads(answer)["error"]["message"]),
                                 (401, "Invalid API Key"))
                self.assertNotIn("X-KVSplice-Restored", headers)
                self.assertEqual({seen[1] for seen in self.server.seen},
                                 {"/props", "/v1/chat/completions"})
                for page in ("status", "metrics"):
                    self.assertEqual(self.page(page, key)[0], 401)
        self.assertGreater(self.cached(body, "ours"), 250)  # it lies where it lay
        self.assertEqual(self.cached(body, "theirs"), 0)
        self.assertEqual(self.page("status", "theirs")[0], 200)
        self.assertIn(b"kvsplice_up 1", self.page("metrics", "ours")[2])
        self.assertEqual(self.page("", None)[0], 200)

    def page(self, name, key):
        return self.proxy.ask("GET", f"/kvsplice/{name}", None,
                              {"Authorization": f"Bearer {key}"} if key else {})

    def wait_until_ready(self):
        end = time.monotonic() + peer.LIMIT
        while json.loads(self.page("status", "ours")[2])["state"] != "ready":
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)


class Models(Behind):
    def test_a_server_with_another_model_is_passed_through(self):
        another = os.environ.get("KVSPLICE_TEST_GEMMA", "")
        if not os.path.exists(another):
            self.skipTest("a second model is not there")
        self.server.model_path = another
        with self.proxy:
            status = self.proxy.status()
            self.assertEqual(status["state"], "passing through")
            self.assertIn("another model than -m: " + another, status["why"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
