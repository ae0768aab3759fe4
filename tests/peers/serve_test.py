#!/usr/bin/env python3
"""`kvsplice serve` in front of the real llama-server: what it stores comes back after everything was
killed, tenants do not see each other, and what it does not understand passes through."""

import json
import os
import signal
import socket
import tempfile
import time
import unittest

import adapter
import peer
from proxy import BLOCK, Proxy, conversation


class OneServer(unittest.TestCase):
    """What leaves the server as it was. Each test has a topic, or clients, of its own."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.proxy = cls.enterClassContext(Proxy(folder.name))

    def test_a_prompt_that_others_begin_with_is_stored_once(self):
        first, second = conversation("trade"), conversation("trade")
        second[1]["content"] = "Which of the notes is the shortest?"
        other = conversation("something else entirely", 1500)
        self.proxy.chat(first)
        before = self.proxy.wait_until_saved()["store"]
        # Both slots are taken by others meanwhile.
        self.proxy.chat(other)
        self.proxy.chat(conversation("a third thing", 2000))
        self.proxy.wait_until_saved()
        _, cached, restored = self.proxy.chat(second)
        self.assertGreaterEqual(restored, BLOCK)
        self.assertGreaterEqual(cached, restored - 1)
        self.proxy.wait_until_saved()
        self.assertGreater(before["bytes"], 0)

    def test_tenants_do_not_share(self):
        begun = conversation("the weather")
        self.proxy.chat(begun, key="one")
        self.proxy.wait_until_saved()
        for _ in range(3):  # the slots of the first are among those that are free
            _, cached, restored = self.proxy.chat(begun, key="two", cache_salt=str(_))
            self.assertEqual((cached, restored), (0, 0))
        _, cached, _ = self.proxy.chat(begun, key="one")
        self.assertGreater(cached, BLOCK)

    def test_slots_that_the_server_has_chosen_are_not_another_tenants(self):
        begun = conversation("the weather")
        self.proxy.post("/v1/chat/completions", {"messages": begun, "max_tokens": 4, "n": 2}, "one")
        for salt in ("a", "b"):
            _, cached, restored = self.proxy.chat(begun, key="two", cache_salt=salt)
            self.assertEqual((cached, restored), (0, 0))

    def test_slots_are_not_moved_by_clients(self):
        for action in ("save", "restore", "erase"):
            status, _, answer = self.proxy.ask("POST", f"/slots/0?action={action}",
                                               json.dumps({"filename": "x"}))
            self.assertEqual(status, 403)
            self.assertIn("message", json.loads(answer)["error"])

    def test_tools_are_part_of_the_prompts_of_other_interfaces(self):
        schema = {"type": "object", "properties": {"path": {"type": "string"}}}
        notes = peer.start_of("news.txt", 1600)
        asked = {
            "/v1/messages": {
                "model": "x", "max_tokens": 4, "system": notes,
                "tools": [{"name": "ls", "description": "lists files", "input_schema": schema}],
                "messages": [
                    {"role": "user", "content": "What is here?"},
                    {"role": "assistant", "content": [
                        {"type": "text", "text": "I look."},
                        {"type": "tool_use", "id": "t1", "name": "ls", "input": {"path": "."}}]},
                    {"role": "user", "content": [
                        {"type": "tool_result", "tool_use_id": "t1", "content": "one two"}]}]},
            "/v1/responses": {
                "model": "x", "max_output_tokens": 4, "instructions": notes,
                "tools": [{"type": "function", "name": "ls", "description": "lists files",
                           "parameters": schema}],
                "input": [
                    {"role": "user", "content": "What is here?"},
                    {"type": "function_call", "call_id": "t1", "name": "ls",
                     "arguments": "{\"path\": \".\"}"},
                    {"type": "function_call_output", "call_id": "t1", "output": "one two"}]},
        }
        count = {"/v1/messages": "/v1/messages/count_tokens",
                 "/v1/responses": "/v1/responses/input_tokens"}
        for path, body in asked.items():
            with self.subTest(path=path):
                tokens = self.proxy.post(count[path], body)[0]["input_tokens"]
                _, headers = self.proxy.post(path, body)
                self.assertEqual(headers["X-KVSplice-Restored"].split("/")[1], str(tokens))

    def test_what_is_not_understood_passes_through(self):
        for body in (b"{", b"[]", b'{"messages": 3}', b"\xff\xfe", b""):
            status, headers, answer = self.proxy.ask("POST", "/v1/chat/completions", body,
                                                     {"Content-Type": "application/json"})
            self.assertIn(status, (400, 500), body)
            self.assertIn(b"error", answer)
        self.assertEqual(self.proxy.ask("GET", "/no/such/page")[0], 404)
        status, _, answer = self.proxy.ask("GET", "/props?x=1")
        self.assertEqual((status, json.loads(answer)["total_slots"]), (200, 2))
        self.assertEqual(self.proxy.ask("GET", "/health")[0], 200)
        tokens, _ = self.proxy.post("/tokenize", {"content": "a b c"})
        self.assertGreater(len(tokens["tokens"]), 2)

    def test_streams_come_as_they_are_made(self):
        body = {"messages": conversation("the weather"), "max_tokens": 24, "stream": True,
                "ignore_eos": True}
        status, headers, answer = self.proxy.ask("POST", "/v1/chat/completions", json.dumps(body),
                                                 {"Content-Type": "application/json"})
        self.assertEqual(status, 200)
        self.assertIn("text/event-stream", headers["Content-Type"])
        events = [line for line in answer.split(b"\n\n") if line]
        self.assertGreater(len(events), 10)
        self.assertEqual(events[-1], b"data: [DONE]")
        self.proxy.wait_until(lambda s: s["requests"][0]["predicted_tokens"] == 24)

    def test_a_client_that_leaves_stops_the_server(self):
        body = json.dumps({"messages": conversation("the weather"), "max_tokens": 3000,
                           "stream": True, "ignore_eos": True}).encode()
        client = socket.create_connection(("127.0.0.1", self.proxy.port))
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: "
                       b"application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        client.recv(1000)
        client.close()
        begun = time.monotonic()
        self.proxy.wait_until(lambda s: not any(slot["busy"] for slot in s["slots"]))
        self.assertLess(time.monotonic() - begun, 10)

    def test_what_cannot_be_is_said_at_the_start(self):
        for options, said in (
                (["--port", str(self.proxy.port)], "in use"),
                (["--server", "/no/such/program"], "no such program"),
                (["--codec", "/no/such/codec"], "/no/such/codec"),
                (["--", "--port", "80"], "--port"),
                (["--upstream", "http://127.0.0.1:1"], "--slots-dir"),
        ):
            other = tempfile.TemporaryDirectory()
            self.addCleanup(other.cleanup)
            command = [os.environ["KVSPLICE_BINARY"], "serve", "-m", peer.MODEL, "--store",
                       os.path.join(other.name, "store"), *options]
            if "--server" not in options:
                command[2:2] = ["--server", peer.program("llama-server")]
            done = peer.subprocess.run(command, timeout=peer.LIMIT, text=True,
                                       stdout=peer.subprocess.PIPE,
                                       stderr=peer.subprocess.STDOUT)
            self.assertNotEqual(done.returncode, 0, options)
            self.assertIn(said, done.stdout)
            self.assertEqual(len(done.stdout.strip().splitlines()), 1, done.stdout)


class Serving(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def next_turn(self, begun, answer):
        return begun + [{"role": "assistant", "content": answer},
                        {"role": "user", "content": "Say it in other words."}]

    def test_a_conversation_goes_on_after_everything_was_ended(self):
        for how in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(how=how), tempfile.TemporaryDirectory() as folder:
                proxy = Proxy(folder)
                with proxy:
                    begun = conversation("the weather", 2400)
                    answer, cached, restored = proxy.chat(begun)
                    self.assertEqual((cached, restored), (0, 0))
                    proxy.wait_until_saved()
                    turn = self.next_turn(begun, answer)
                    wanted, there, restored = proxy.chat(turn)
                    self.assertGreater(there, 2 * BLOCK)  # in the slot
                    self.assertEqual(restored, 0)
                    if how == signal.SIGKILL:
                        proxy.wait_until_saved()
                    proxy.stop(how)
                    proxy.start()
                    got, cached, restored = proxy.chat(turn)
                    self.assertGreaterEqual(restored, there)
                    self.assertGreaterEqual(cached, there)
                    self.assertEqual(got, wanted)

    def test_slot_files_that_are_kept_in_memory_come_back_as_they_are(self):
        with Proxy(self.folder, "--hot", "64M") as proxy:
            begun = conversation("the weather")
            answer, _, _ = proxy.chat(begun)
            turn = self.next_turn(begun, answer)
            wanted, there, _ = proxy.chat(turn)
            proxy.wait_until_saved()
            os.kill(proxy.server_pid(), signal.SIGKILL)
            proxy.wait_until(lambda s: s["server"]["starts"] == 2 and s["state"] == "ready")
            got, cached, restored = proxy.chat(turn)
            self.assertGreaterEqual(restored, there)
            self.assertGreaterEqual(cached, there)
            self.assertEqual(got, wanted)
            status = proxy.status()
            self.assertEqual(status["counts"]["restores_hot"], 1)
            self.assertGreater(status["hot"]["bytes"], 23040 * there)  # f16 bytes of a token
            self.assertLess(status["hot"]["bytes"], 64 << 20)

    def test_cells_that_mean_something_else_are_kept_apart(self):
        begun = conversation("the weather")
        with Proxy(self.folder) as proxy:
            proxy.chat(begun)
            proxy.wait_until_saved()
        with Proxy(self.folder, server_options=["--rope-freq-scale", "0.5"]) as proxy:
            self.assertEqual(proxy.status()["state"], "ready")
            self.assertEqual(proxy.chat(begun)[1:], (0, 0))
            proxy.wait_until_saved()
        with Proxy(self.folder) as proxy:
            self.assertGreater(proxy.chat(begun)[2], BLOCK)

    def test_a_server_that_computes_other_cells_is_not_given_these(self):
        begun = conversation("the weather")
        with Proxy(self.folder) as proxy:
            proxy.chat(begun)
            proxy.wait_until_saved()
        slots = os.path.join(self.folder, "slots")
        os.mkdir(slots)
        with peer.Server(slots, peer.CACHES[0], "-np", "1", "--rope-freq-scale", "0.5") as server:
            with Proxy(self.folder, attached=(server.address, slots)) as proxy:
                status = proxy.status()
                self.assertEqual(status["state"], "passing through")
                self.assertIn("computes other cells", status["why"])
                answer, _ = proxy.post("/v1/chat/completions", {"messages": begun, "max_tokens": 2})
                self.assertEqual(answer["timings"]["cache_n"], 0)

    def test_after_adapters_were_set_slots_are_filled_anew(self):
        with Proxy(self.folder) as proxy:
            begun = conversation("the weather")
            answer, _, _ = proxy.chat(begun)
            status, _, _ = proxy.ask("POST", "/lora-adapters", b"[]",
                                     {"Content-Type": "application/json"})
            self.assertEqual(status, 200)
            # What lay in the slot has been saved before.
            _, cached, restored = proxy.chat(self.next_turn(begun, answer))
            self.assertGreater(restored, BLOCK)
            self.assertGreaterEqual(cached, restored)
            self.assertIn("look_again", proxy.log())

    def test_cells_of_an_adapter_are_kept_apart(self):
        path = os.path.join(self.folder, "adapter.gguf")
        adapter.write(path)
        begun = conversation("the weather", 2400)

        def scale(proxy, factor):
            body = json.dumps([{"id": 0, "scale": factor}])
            status, _, _ = proxy.ask("POST", "/lora-adapters", body,
                                     {"Content-Type": "application/json"})
            self.assertEqual(status, 200)
            proxy.wait_until(lambda s: s["state"] == "ready")

        with Proxy(self.folder, server_options=["--lora", path]) as proxy:
            self.assertEqual(proxy.chat(begun)[1:], (0, 0))
            adapted, _, _ = proxy.chat(begun)  # of cells, as after a restore
            proxy.wait_until_saved()
            scale(proxy, 0)
            self.assertEqual(proxy.chat(begun)[1:], (0, 0))
            plain, _, _ = proxy.chat(begun)
            self.assertNotEqual(plain, adapted)
            proxy.wait_until_saved()
            scale(proxy, 1)
            again, _, restored = proxy.chat(begun)
            self.assertGreater(restored, BLOCK)
            self.assertEqual(again, adapted)
        with Proxy(self.folder) as proxy:  # the plain cells, without the adapter's file
            again, _, restored = proxy.chat(begun)
            self.assertGreater(restored, BLOCK)
            self.assertEqual(again, plain)

    def test_a_killed_server_is_started_again(self):
        with Proxy(self.folder) as proxy:
            begun = conversation("the weather")
            answer, _, _ = proxy.chat(begun)
            proxy.wait_until_saved()
            os.kill(proxy.server_pid(), signal.SIGKILL)
            proxy.wait_until(lambda s: s["server"]["starts"] == 2 and s["state"] == "ready")
            got, cached, restored = proxy.chat(self.next_turn(begun, answer))
            self.assertGreater(restored, BLOCK)
            self.assertGreaterEqual(cached, restored)

    def test_every_kind_of_prompt_comes_back(self):
        text = peer.start_of("news.txt", 1300)
        kinds = {  # no two begin alike: all but one would be there already
            "/completion": {"prompt": text, "n_predict": 4},
            "/v1/completions": {"prompt": "News. " + text, "max_tokens": 4},
            "/v1/chat/completions": {"messages": [{"role": "user", "content": text}],
                                     "max_tokens": 4},
            "/v1/messages": {"messages": [{"role": "user", "content": text}], "max_tokens": 4,
                             "system": "Be brief.", "model": "x"},
            "/v1/responses": {"input": text, "max_output_tokens": 4, "model": "x",
                              "instructions": "Say little."},
        }
        proxy = Proxy(self.folder)
        with proxy:
            for path, body in kinds.items():
                proxy.post(path, body)
            proxy.wait_until_saved()
            proxy.stop()
            proxy.start()
            for path, body in kinds.items():
                with self.subTest(path=path):
                    _, headers = proxy.post(path, body)
                    restored, prompt = map(int, headers["X-KVSplice-Restored"].split("/"))
                    self.assertGreater(prompt, BLOCK)
                    self.assertGreaterEqual(restored, prompt)
                    served = proxy.last_request(prompt)
                    self.assertGreaterEqual(served["cached_tokens"] or restored, prompt - 1)

    def test_a_codec_is_learnt_from_what_is_stored(self):
        text = "".join(peer.start_of(f"{name}.txt", 9000) for name in ("fiction", "technical"))
        prompts = [[{"role": "user", "content": text[at:at + 3000]}]
                   for at in range(0, len(text) - 3000, 3000)]
        proxy = Proxy(self.folder, "--learn-after", "1500", "--max-kld", "0.2")
        another = Proxy(self.folder, "--learn-after", "1000000")  # of the same store
        with proxy, another:
            for prompt in prompts[:4]:
                proxy.chat(prompt, n=4)
            before = proxy.wait_until_saved()["store"]
            self.assertLess(before["ratio"], 2)
            status = proxy.wait_until(lambda s: s["cells"]["codec"] != "lossless" and
                                      s["store"]["bytes"] < before["bytes"] / 5)
            self.assertGreaterEqual(status["store"]["tokens"], before["tokens"] - 64)
            self.assertNotIn("focus", status["cells"]["codec"])
            another.wait_until(lambda s: s["cells"]["codec"] == status["cells"]["codec"])
            self.assertGreater(another.chat(prompts[1], n=4)[2], 500)
            proxy.stop()
            proxy.start()
            self.assertEqual(proxy.status()["cells"]["codec"], status["cells"]["codec"])
            _, cached, restored = proxy.chat(prompts[0], n=4)
            self.assertGreater(restored, 500)
            self.assertGreaterEqual(cached, restored - 1)
        learnt = [line for line in proxy.log().splitlines() if " learnt " in line]
        self.assertEqual(len(learnt), 1)
        kld = float(learnt[0].split(" kld=")[1].split()[0])
        self.assertGreater(kld, 1e-5)  # it has been measured
        self.assertLess(kld, 0.2)


if __name__ == "__main__":
    peer.program("llama-server")
    unittest.main(verbosity=2)
