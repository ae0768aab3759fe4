#!/usr/bin/env python3
"""`kvsplice serve` in front of a server that does things wrong (stub_server.py): a client gets what
that server alone would have given, and when it does things right again cells are restored again."""

import contextlib
import glob
import http.client
import json
import os
import re
import socket
import tempfile
import threading
import time
import unittest

import peer
import stub_server as stub
from proxy import Proxy
from stub_server import Stub, refuses, says

JSON = {"Content-Type": "application/json"}
ASKED_FOR_TOKENS = 10  # seconds that the proxy waits for them (src/serve/upstream.cc)
LONG = [{"role": "system", "content": peer.start_of("news.txt", 260)},
        {"role": "user", "content": "What is new?"}]
OTHER = [{"role": "user", "content": peer.start_of("fiction.txt", 150)}]
# Of each kind of request one; a stream, too.
REQUESTS = {
    "chat": ("/v1/chat/completions", {"messages": LONG, "max_tokens": 6}),
    "stream": ("/v1/chat/completions", {"messages": LONG, "max_tokens": 6, "stream": True}),
    "completion": ("/completion", {"prompt": stub.template(LONG), "n_predict": 6}),
    "messages": ("/v1/messages", {"messages": LONG[1:], "system": LONG[0]["content"],
                                  "max_tokens": 6}),
    "responses": ("/v1/responses", {"input": LONG[1:], "instructions": LONG[0]["content"],
                                    "max_output_tokens": 6}),
}


class Said:
    """What came back for a request, as far as it came."""

    def __init__(self, port, method, path, body=None, headers=None, timeout=60):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        self.whole = True
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            self.status, self.headers = answer.status, dict(answer.getheaders())
            try:
                self.body = answer.read()
            except http.client.IncompleteRead as error:
                self.body, self.whole = error.partial, False
        finally:
            connection.close()

    def alike(self):
        """Without the numbers by which an answer from a cache differs from others."""
        return (self.status, self.headers["Content-Type"], "Content-Length" in self.headers,
                self.whole, re.sub(rb', "timings": \{[^}]*\}', b"", self.body))

    @property
    def restored(self):
        return int(self.headers["X-KVSplice-Restored"].split("/")[0])


class Faults(unittest.TestCase):
    """One proxy lives through all of it; `alone` is the same server without a proxy."""

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        slots = os.path.join(cls.folder, "slots")
        os.mkdir(slots)
        cls.behind = cls.enterClassContext(Stub(slots))
        cls.alone = cls.enterClassContext(Stub(cls.folder))
        cls.proxy = Proxy(cls.folder, "--learn-after", "0", attached=(cls.behind.address, slots))
        cls.enterClassContext(cls.proxy)
        cls.proxy.wait_until(lambda status: status["state"] == "ready")
        cls.ask("chat")
        cls.proxy.wait_until_saved()

    @classmethod
    def tearDownClass(cls):
        assert cls.proxy.stop() == 0, cls.proxy.log()[-3000:]
        assert not cls.behind.wrong_cells, cls.behind.wrong_cells
        peer.kvsplice("store", "verify", "--store", os.path.join(cls.folder, "store"))

    def tearDown(self):
        self.lift()

    def break_both(self, where, fault):
        for server in (self.behind, self.alone):
            server.fail({where: fault})

    def lift(self):
        for server in (self.behind, self.alone):
            server.lift()

    @classmethod
    def ask(cls, kind, port=None, key=None, **more):
        path, body = REQUESTS[kind]
        headers = {**JSON, "Authorization": f"Bearer {key}"} if key else JSON
        return Said(port or cls.proxy.port, "POST", path, json.dumps(body), headers, **more)

    def take_slot(self, key=None):
        """So that the next request finds another conversation there."""
        self.proxy.chat(OTHER, n=2, key=key)

    def last_request(self):
        """It is noted before its slot is free."""
        return self.proxy.wait_until(lambda s: not s["slots"][0]["busy"])["requests"][0]

    def check_restores(self):
        self.take_slot()
        said = self.ask("chat")
        self.assertEqual(said.status, 200)
        self.assertGreater(said.restored, 250, self.proxy.log()[-1500:])
        self.assertGreaterEqual(json.loads(said.body)["timings"]["cache_n"], said.restored - 1)

    def test_without_a_fault_all_is_the_same(self):
        for kind in REQUESTS:
            self.assertEqual(self.ask(kind).alike(), self.ask(kind, self.alone.port).alike())
        self.check_restores()

    def test_what_goes_wrong_with_an_answer_comes_through(self):
        faults = {"500": refuses(500, "out of order"), "503": refuses(503, "Loading model"),
                  "cut": stub.cut, "malformed": stub.malformed, "nothing": says(200, b""),
                  "no timings": stub.without_timings,
                  "timings of another kind": says(200, {"timings": [{"cache_n": "many"}]})}
        for name, fault in faults.items():
            for kind, (path, _) in REQUESTS.items():
                with self.subTest(fault=name, kind=kind):
                    self.break_both(path, fault)
                    got, wanted = self.ask(kind), self.ask(kind, self.alone.port)
                    self.assertEqual(got.alike(), wanted.alike())
            self.lift()
            with self.subTest(after=name):
                self.check_restores()

    def test_a_server_that_says_nothing_is_named(self):
        self.break_both("/v1/chat/completions", stub.closes)
        with self.assertRaises(http.client.RemoteDisconnected):
            self.ask("chat", self.alone.port)
        said = self.ask("chat")
        self.assertEqual(said.status, 502)
        self.assertIn("llama-server does not answer", json.loads(said.body)["error"]["message"])
        self.lift()
        self.check_restores()

    def test_a_slow_stream_is_handed_on_piece_by_piece(self):
        self.break_both("/v1/chat/completions", stub.slow)
        path, body = REQUESTS["stream"]
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.port, timeout=60)
        self.addCleanup(connection.close)
        connection.request("POST", path, json.dumps(body), JSON)
        answer, came = connection.getresponse(), []
        while line := answer.readline():
            if line.startswith(b"data:"):
                came.append(time.monotonic())
        self.assertEqual(len(came), 7)
        self.assertGreater(came[-1] - came[0], 0.4)

    def test_what_goes_wrong_beside_the_request_costs_only_the_restore(self):
        wrong = {"500": refuses(500, "out of order"), "503": refuses(503, "Loading model"),
                 "closes": stub.closes, "cut": stub.cut, "malformed": stub.malformed,
                 "no object": says(200, [1]), "empty": says(200, b"")}
        faults = {
            "/apply-template": {**wrong, "a number": says(200, {"prompt": 7})},
            "/tokenize": {**wrong, "words": says(200, {"tokens": ["a", None]}),
                          "a text": says(200, {"tokens": "many"}),
                          "no token of any model": says(200, {"tokens": [-5, 1 << 40] * 200}),
                          "others": says(200, {"tokens": list(range(300))})},
            "/slots/restore": {**wrong, "less": stub.restores_less,
                               "no space": refuses(400, "no space left for the cells")},
        }
        for where, all_of_it in faults.items():
            for name, fault in all_of_it.items():
                with self.subTest(where=where, fault=name):
                    if where == "/slots/restore":
                        self.take_slot()
                    self.break_both(where, fault)
                    got, wanted = self.ask("chat"), self.ask("chat", self.alone.port)
                    self.assertEqual(got.alike(), wanted.alike())
                    self.assertEqual(got.restored, 0)
                    self.assertNotEqual(self.last_request()["why_not_restored"], "")
                    self.lift()
            with self.subTest(after=where):
                self.check_restores()

    def test_what_cannot_be_saved_is_not_kept(self):
        for name, fault in {"no space": refuses(500, "no space left on device"),
                            "closes": stub.closes, "malformed": stub.malformed,
                            "nothing written": says(200, {"n_saved": 500})}.items():
            with self.subTest(fault=name):
                self.break_both("/slots/save", fault)
                failed = self.proxy.status()["counts"]["saves_failed"]
                new = [{"role": "user", "content": f"{name} " * 40}]
                text, _, _ = self.proxy.chat(new, n=6)
                self.assertEqual(len(text), 6)
                counts = self.proxy.wait_until(
                    lambda s: s["counts"]["saves_failed"] > failed)["counts"]
                self.assertNotEqual(counts["last_failure"], "")
                self.take_slot()
                again, cached, restored = self.proxy.chat(new, n=6)
                self.assertEqual((again, restored), (text, 0))
                self.assertLess(cached, 10)
                self.lift()
                self.check_restores()

    def test_a_store_that_is_spoilt_costs_only_the_restore(self):
        def flip(path):
            with open(path, "r+b") as file:
                file.seek(os.path.getsize(path) // 2)
                byte = file.read(1)
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([byte[0] ^ 1]))
        spoils = {"cut": lambda path: os.truncate(path, 300), "empty": lambda path: os.truncate(path, 0),
                  "altered": flip, "gone": os.remove, "unreadable": lambda path: os.chmod(path, 0)}
        store = os.path.join(self.folder, "store")
        for name, spoil in spoils.items():
            with self.subTest(spoilt=name):
                self.check_restores()
                for path in glob.glob(os.path.join(store, "objects", "*", "*.kvo")):
                    if os.path.getsize(path) > 0:  # what nobody has asked for lies there still
                        spoil(path)
                self.take_slot()
                got, wanted = self.ask("chat"), self.ask("chat", self.alone.port)
                self.assertEqual(got.alike(), wanted.alike())
                if name != "unreadable" or os.getuid() != 0:  # root reads everything
                    self.assertEqual(got.restored, 0)
                self.proxy.wait_until_saved()
                self.check_restores()  # what was lost has been kept again
        peer.kvsplice("store", "verify", "--repair", "--store", store)

    def test_a_slot_that_cannot_be_emptied_is_not_shared(self):
        self.check_restores()
        self.break_both("/slots/erase", refuses(500, "out of order"))
        got = self.ask("chat", key="somebody else")
        self.assertEqual(got.status, 200)
        self.assertEqual(json.loads(got.body)["timings"]["cache_n"], 0)

    def test_a_slot_that_the_server_chose_is_not_shared(self):
        """Several answers to one prompt are of its choice."""
        new = [{"role": "user", "content": "A question that nobody has asked before. " * 6}]

        def cached(**more):
            key = more.pop("key")
            body = {"messages": new, "max_tokens": 4, **more}
            return self.proxy.post("/v1/chat/completions", body, key)[0]["timings"]["cache_n"]
        self.assertEqual(cached(key="first"), 0)
        self.assertEqual(cached(key="second", n=2), 0)
        self.assertEqual(cached(key="third"), 0)
        self.proxy.wait_until(lambda s: s["files_waiting"] == 0)
        self.assertGreater(self.proxy.chat(new, key="first")[2], 200)  # it was saved before

    # -- hanging ----------------------------------------------------------------------------------

    def test_tokens_are_not_waited_for_without_end(self):
        self.take_slot()
        self.behind.fail({"/tokenize": stub.hangs})
        begun = time.monotonic()
        got = self.ask("chat")
        self.assertLess(time.monotonic() - begun, ASKED_FOR_TOKENS + 10)
        self.assertEqual(got.alike(), self.ask("chat", self.alone.port).alike())
        self.lift()
        self.check_restores()

    def test_a_client_need_not_wait_for_an_answer_that_does_not_come(self):
        self.behind.fail({"/v1/chat/completions": stub.hangs})
        left = self.behind.left
        with self.assertRaises(TimeoutError):
            self.ask("chat", timeout=1)
        end = time.monotonic() + 10
        while self.behind.left == left:
            self.assertLess(time.monotonic(), end, "the server works for nobody")
            time.sleep(0.02)
        self.assertEqual(self.ask("completion").status, 200)  # in the slot that was held
        self.lift()
        self.check_restores()

    def test_others_wait_while_a_restore_hangs_and_no_longer(self):
        self.take_slot()
        self.behind.fail({"/slots/restore": stub.hangs})
        got = []
        clients = [threading.Thread(target=lambda kind=kind: got.append(self.ask(kind)))
                   for kind in ("chat", "completion")]
        for client in clients:
            client.start()
        time.sleep(1)
        self.assertEqual(got, [])
        self.assertEqual(Said(self.proxy.port, "GET", "/health").status, 200)
        self.lift()
        for client in clients:
            client.join(20)
        self.assertEqual([said.status for said in got], [200, 200])
        self.check_restores()

    # -- bodies -----------------------------------------------------------------------------------

    def test_bodies_reach_the_server_as_they_are(self):
        deep = 300_000
        bodies = [b"", b"{", b"[]", b"7", b"null", b'"text"', b"\xff\xfe\x00", b"{} {}",
                  b'{"messages": "\xc3\x28"}', b'{"messages": "\\ud800"}', b"{" * 1000,
                  b"[" * deep + b"]" * deep, b'{"a":' * deep + b"1" + b"}" * deep,
                  b'{"messages": 1e999}', b"a=1&b=2", b"\r\n\r\n"]
        for body in bodies:
            for path in ("/v1/chat/completions", "/completion", "/v1/messages", "/v1/responses"):
                with self.subTest(body=body[:20], path=path):
                    del self.behind.seen[:]
                    got = Said(self.proxy.port, "POST", path, body, JSON)
                    wanted = Said(self.alone.port, "POST", path, body, JSON)
                    self.assertEqual(got.alike(), wanted.alike())
                    self.assertEqual([seen[3] for seen in self.behind.seen if seen[1] == path],
                                     [body])
        self.check_restores()

    def test_bodies_of_wrong_types_get_the_servers_own_answer(self):
        deep = "[" * 20_000 + "]" * 20_000
        texts = ['{"messages": 3}', '{"messages": [3]}', '{"messages": [{"role": 1}]}',
                 '{"messages": {"a": 1}}', '{"messages": null, "n": "two", "stream": "yes"}',
                 '{"prompt": {"a": 1}}', '{"prompt": [[1, 2], "x"]}', '{"prompt": [1.5]}',
                 '{"input": 3, "instructions": []}', '{"system": 3, "messages": []}',
                 '{"lora": 3, "cache_salt": 7, "id_slot": "x", "prompt": 5}',
                 '{"id_slot": 1e300, "prompt": null}', '{"prompt": %s}' % deep,
                 '{"messages": %s}' % deep]
        for text in texts:
            for path in ("/v1/chat/completions", "/completion", "/v1/messages", "/v1/responses"):
                with self.subTest(body=text[:40], path=path):
                    got, wanted = (Said(port, "POST", path, text, JSON)
                                   for port in (self.proxy.port, self.alone.port))
                    # The server counts the bytes, which may be others.
                    self.assertEqual(got.status, wanted.status)
                    self.assertEqual(got.body.split(b" in ")[0], wanted.body.split(b" in ")[0])
        self.check_restores()

    def test_headers_and_forms_reach_the_server(self):
        form = (b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
                b"\x00\xff\r\n--cut--\r\n")
        kinds = {"multipart/form-data; boundary=cut": form, "multipart/form-data": b"no boundary",
                 "application/x-www-form-urlencoded": b"a=1&b=%20", "text/plain": b"abc"}
        for kind, body in kinds.items():
            with self.subTest(kind=kind):
                headers = {"Content-Type": kind, "X-Other": "yes", "Accept-Encoding": "gzip, br"}
                Said(self.proxy.port, "POST", "/v1/audio/transcriptions", body, headers)
                _, _, seen, got = self.behind.seen[-1]
                self.assertEqual(got, body)
                self.assertEqual({name: seen.get(name) for name in headers}, headers)

    def test_lengths_that_lie_harm_nobody_else(self):
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n"
        for length in (b"1000", b"-1", b"x", b"99999999999999999999", b"2"):
            with self.subTest(length=length):
                with socket.create_connection(("127.0.0.1", self.proxy.port), 10) as client:
                    client.sendall(head % length + b'{"messages": 3}')
                    client.shutdown(socket.SHUT_WR)
                    self.assertRegex(client.recv(1000), rb"^(HTTP/1.1 4\d\d |$)")
        self.check_restores()

    def test_other_requests_pass_through(self):
        for method, path in (("GET", "/v1/models"), ("GET", "/props?x=%20y"), ("GET", "/none"),
                             ("HEAD", "/health"), ("PUT", "/none"), ("DELETE", "/none"),
                             ("POST", "/none")):
            with self.subTest(method=method, path=path):
                got, wanted = (Said(port, method, path)
                               for port in (self.proxy.port, self.alone.port))
                self.assertEqual(got.alike(), wanted.alike())
                self.assertEqual(self.behind.seen[-1][:2], (method, path))


class Starting(unittest.TestCase):
    """What the server does wrong while it is tested."""

    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        self.server = self.enterContext(Stub(self.folder))
        self.proxy = Proxy(self.folder, "--learn-after", "0",
                           attached=(self.server.address, self.folder))

    def test_a_server_that_fails_the_test_is_passed_through(self):
        faults = {("/slots/save", refuses(500, "no space left on device")): "no space left",
                  ("/slots/save", says(200, {"n_saved": 96})): "--slot-save-path",
                  ("/slots/restore", stub.restores_less): "restores fewer tokens",
                  ("/slots/restore", refuses(501, "not supported")): "not supported"}
        for (where, fault), why in faults.items():
            with self.subTest(where=where, why=why):
                self.server.fail({where: fault})
                with self.proxy:
                    status = self.proxy.status()
                    self.assertEqual(status["state"], "passing through")
                    self.assertIn(why, status["why"])
                    said = Said(self.proxy.port, "POST", "/completion",
                                json.dumps({"prompt": "abc", "n_predict": 4}), JSON)
                    self.assertEqual((said.status, len(json.loads(said.body)["content"])), (200, 4))
                    self.assertNotIn("X-KVSplice-Restored", said.headers)

    def test_a_model_that_slides_is_passed_through_and_named(self):
        slides = os.environ.get("KVSPLICE_TEST_GEMMA", "")
        if not os.path.exists(slides):
            self.skipTest("no model with sliding windows is there")
        with Proxy(self.folder, attached=(self.server.address, self.folder), model=slides) as proxy:
            status = proxy.status()
            self.assertEqual(status["state"], "passing through")
            self.assertIn("sliding window", status["why"])
            body = b'{"prompt": "abc",  "n_predict": 4, "cache_salt": "mine"}'
            del self.server.seen[:]
            self.assertEqual(proxy.ask("POST", "/completion", body, JSON)[0], 200)
            self.assertEqual([seen[3] for seen in self.server.seen], [body])

    def test_requests_wait_for_a_server_that_loads(self):
        self.server.fail({"/health": refuses(503, "Loading model")})
        self.addCleanup(self.proxy.stop)
        self.proxy.begin()
        said = []
        client = threading.Thread(target=lambda: said.append(self.proxy.chat(OTHER, n=4)))
        client.start()
        time.sleep(0.5)
        self.assertEqual(said, [])
        self.server.lift()
        client.join(20)
        self.assertEqual(len(said[0][0]), 4)
        self.assertEqual(self.proxy.status()["state"], "ready")

    def test_it_ends_while_the_server_hangs(self):
        with self.proxy:
            self.server.fail({"/completion": stub.hangs})
            clients = [self.ask_in_vain("/completion"), self.ask_in_vain("/v1/completions")]
            self.proxy.wait_until(lambda s: s["slots"][0]["busy"])
            begun = time.monotonic()
            self.assertEqual(self.proxy.stop(), 0)
            self.assertLess(time.monotonic() - begun, 10)
            for client in clients:
                client.join(10)

    def ask_in_vain(self, path):
        def ask():
            with contextlib.suppress(OSError, http.client.HTTPException):
                Said(self.proxy.port, "POST", path, json.dumps({"prompt": "abc"}), JSON)
        client = threading.Thread(target=ask)
        client.start()
        return client


if __name__ == "__main__":
    unittest.main(verbosity=2)
