#!/usr/bin/env python3
"""Two `kvsplice serve` with stores of their own share prefixes through a real Redis and through S3; the
remote dies, freezes, is full, lies: requests are answered, and only prefixes are lost."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "peers"))

import peer  # noqa: E402
import servers  # noqa: E402
from proxy import Proxy, conversation  # noqa: E402


def ask_again(begun, question):
    return begun[:-1] + [{"role": "user", "content": question}]


class Sharing(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def proxy(self, name, remote, environment=None):
        """A machine of its own, with the key that all have."""
        store = os.path.join(self.folder, name, "store")
        os.makedirs(store, mode=0o700)
        key = os.path.join(self.folder, "key")
        if os.path.exists(key):
            shutil.copy(key, store)
        proxy = Proxy(os.path.join(self.folder, name))
        if environment:
            self.addCleanup(os.environ.update, dict(os.environ))
            os.environ.update(environment)
        os.environ["KVSPLICE_REMOTE"] = remote
        self.addCleanup(os.environ.pop, "KVSPLICE_REMOTE", None)
        proxy.start()
        self.addCleanup(proxy.stop)
        if not os.path.exists(key):
            shutil.copy(os.path.join(store, "key"), key)
        return proxy

    def wait_until_shared(self, proxy, before=0):
        proxy.wait_until_saved()
        return proxy.wait_until(lambda s: s["remote"]["put_objects"] > before
                                and s["remote"]["queued_objects"] == 0)["remote"]

    def share_and_bring(self, one, two):
        """What one was told the other need not evaluate; the answers are the same."""
        begun = conversation("the weather")
        wanted, cached, restored = one.chat(begun)
        self.assertEqual((cached, restored), (0, 0))
        self.wait_until_shared(one)
        got, cached, restored = two.chat(begun)
        self.assertGreater(restored, 400)
        self.assertGreaterEqual(cached, restored - 1)
        self.assertEqual(got, wanted)
        remote = two.status()["remote"]
        self.assertEqual((remote["hits"], remote["failures"], remote["spoilt"]), (1, 0, 0))
        self.assertGreater(remote["got_objects"], 1)

    def test_redis_shares_dies_and_comes_back(self):
        with servers.Redis(self.folder) as redis:
            one, two = self.proxy("one", redis.url), self.proxy("two", redis.url)
            self.share_and_bring(one, two)
            self.assertGreater(redis.ask("TTL", next(iter(redis.values()))), 6 * 24 * 3600)
            # To the token: where the question begins, in the middle of a block.
            three = self.proxy("three", redis.url)
            other = ask_again(conversation("the weather"), "Which of them is the shortest?")
            _, cached, restored = three.chat(other)
            self.assertGreater(restored, 400)
            self.assertNotEqual(restored % 256, 0)
            three.stop()
            # Killed in the middle: nobody notices, and what is new waits.
            redis.stop()
            for i in range(5):
                for proxy in (one, two):
                    proxy.chat(conversation(f"thing {i}", 1200 + 100 * i), n=4)
            self.assertEqual(two.status()["remote"]["breaker"], "open")
            self.assertIn("Connection refused", two.status()["remote"]["last_error"])
            one.wait_until_saved()
            redis.start()
            queued = one.wait_until(lambda s: s["remote"]["queued_objects"] == 0
                                    and s["remote"]["breaker"] == "closed")["remote"]
            self.assertEqual(queued["dropped"], 0)
            self.assertGreater(len(redis.values()), 3)
            self.nothing_secret_was_said(one, two, secret=redis.PASSWORD)

    def nothing_secret_was_said(self, *proxies, secret):
        for proxy in proxies:
            metrics = proxy.ask("GET", "/kvsplice/metrics")[2].decode()
            self.assertIn("kvsplice_remote_hits_total", metrics)
            for text in (proxy.log(), json.dumps(proxy.status()), metrics):
                self.assertNotIn(secret, text)

    def test_a_frozen_full_or_lying_redis_costs_a_prefill(self):
        with servers.Redis(self.folder) as redis:
            one = self.proxy("one", redis.url)
            begun = conversation("the weather")
            wanted, _, _ = one.chat(begun)
            self.wait_until_shared(one)
            sound = redis.values()
            two = self.proxy("two", redis.url)
            for key, value in sound.items():
                redis.ask("SET", key, value[:-1] + bytes([value[-1] ^ 1]))
            got, cached, restored = two.chat(begun)
            self.assertEqual((got, cached, restored), (wanted, 0, 0))
            self.assertEqual(two.status()["remote"]["spoilt"], 1)
            redis.ask("CONFIG", "SET", "maxmemory", "1")
            two.chat(conversation("something else", 1500))
            two.wait_until(lambda s: s["remote"]["refused"] > 0)
            redis.ask("CONFIG", "SET", "maxmemory", "0")
            redis.freeze()
            for i in range(4):
                two.chat(conversation(f"thing {i}", 1200 + 100 * i), n=4)
            remote = two.status()["remote"]
            self.assertGreaterEqual(remote["failures"], 3)
            self.assertEqual(remote["breaker"], "open")
            redis.stop()

    def test_s3_shares_with_those_it_knows(self):
        with servers.S3(self.folder) as s3:
            one = self.proxy("one", s3.url, s3.keys)
            two = self.proxy("two", s3.url, s3.keys)
            self.share_and_bring(one, two)
            said = peer.kvsplice("store", "stat", "--store", os.path.join(self.folder, "two/store"),
                                 "--remote", s3.url)
            self.assertIn(f"{s3.url}/: answers", said)
            stranger = self.proxy("stranger", s3.url, {"AWS_SECRET_ACCESS_KEY": "wrong"})
            _, cached, restored = stranger.chat(conversation("the weather"))
            self.assertEqual((cached, restored), (0, 0))
            self.assertIn("403", stranger.status()["remote"]["last_error"])
            self.nothing_secret_was_said(one, two, secret=s3.keys["AWS_SECRET_ACCESS_KEY"])

    def refused(self, *options, environment=None):
        """What `serve` says when it does not start: one line."""
        store = os.path.join(self.folder, "store")
        done = subprocess.run(
            [os.environ["KVSPLICE_BINARY"], "serve", "-m", peer.MODEL, "--server",
             peer.program("llama-server"), "--store", store, *options], timeout=peer.LIMIT, text=True,
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertNotEqual(done.returncode, 0, options)
        self.assertEqual(len(done.stdout.strip().splitlines()), 1, done.stdout)
        return done.stdout

    def test_what_cannot_be_is_said_at_the_start(self):
        for url in ("redis://:hush-hush@", "http://hush-hush", "unix://hush-hush"):
            said = self.refused("--remote", url)
            self.assertIn("legal: redis://", said)
            self.assertNotIn("hush", said)
        without = {name: value for name, value in os.environ.items() if "AWS" not in name}
        self.assertIn("AWS_ACCESS_KEY_ID",
                      self.refused("--remote", "s3+http://h/b", environment=without))
        os.makedirs(os.path.join(self.folder, "store"))
        for key in ("", "abc\n", "G" * 64, "0" * 63):
            with open(os.path.join(self.folder, "store", "key"), "w") as file:
                file.write(key)
            self.assertIn("store/key is no key: 64 hexadecimal digits", self.refused())


if __name__ == "__main__":
    peer.program("llama-server")
    servers.require("redis-server", "s3")
    unittest.main(verbosity=2)
