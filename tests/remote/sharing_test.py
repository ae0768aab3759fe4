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


class Sharing(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        before = dict(os.environ)
        self.addCleanup(lambda: (os.environ.clear(), os.environ.update(before)))

    def proxy(self, name, remote, environment=None):
        """A machine of its own, with the key that all have."""
        store = os.path.join(self.folder, name, "store")
        os.makedirs(store, mode=0o700)
        key = os.path.join(self.folder, "key")
        if os.path.exists(key):
            shutil.copy(key, store)
        os.environ.update(environment or {}, KVSPLICE_REMOTE=remote)
        proxy = Proxy(os.path.join(self.folder, name), server_options=("--threads", "1"))
        proxy.start()
        self.addCleanup(proxy.stop)
        if not os.path.exists(key):
            shutil.copy(os.path.join(store, "key"), key)
        return proxy

    def share(self, proxy, begun):
        """The answer, once all of it is in the remote."""
        before = proxy.status()["counts"]["stored_objects"]
        answer, _, restored = proxy.chat(begun, n=8)
        self.assertEqual(restored, 0)
        proxy.wait_until(lambda s: before < s["counts"]["stored_objects"]
                         <= s["remote"]["put_objects"])
        return answer

    def share_and_bring(self, one, two):
        """What one was told the other need not evaluate; the answers are the same."""
        begun = conversation("the weather")
        wanted = self.share(one, begun)
        got, cached, restored = two.chat(begun, n=8)
        self.assertGreater(restored, 256)
        self.assertGreaterEqual(cached, restored - 1)
        self.assertEqual(got, wanted)
        remote = two.status()["remote"]
        self.assertEqual((remote["hits"], remote["failures"], remote["spoilt"]), (1, 0, 0))
        self.assertGreater(remote["got_objects"], 1)

    def nothing_secret_was_said(self, *proxies, secret):
        for proxy in proxies:
            metrics = proxy.ask("GET", "/kvsplice/metrics")[2].decode()
            self.assertIn("kvsplice_remote_hits_total", metrics)
            for text in (proxy.log(), json.dumps(proxy.status()), metrics):
                self.assertNotIn(secret, text)

    def test_redis_is_shared_and_may_do_what_it_likes(self):
        with servers.Redis(self.folder) as redis:
            one, two = self.proxy("one", redis.url), self.proxy("two", redis.url)
            self.share_and_bring(one, two)
            self.assertGreater(redis.ask("TTL", next(iter(redis.values()))), 6 * 24 * 3600)
            with self.subTest("to the token, within a block or tail"):
                begun = conversation("the market")
                self.share(one, begun)
                begun[1]["content"] = "Which of them is the shortest?"
                _, cached, restored = two.chat(begun, n=8)
                self.assertGreater(restored, 256)
                self.assertGreaterEqual(cached, restored - 1)
            with self.subTest("lying"):
                begun = conversation("the theatre")
                wanted = self.share(one, begun)
                for key, value in redis.values().items():
                    redis.ask("SET", key, value[:-1] + bytes([value[-1] ^ 1]))
                got, _, restored = two.chat(begun, n=8)
                self.assertEqual((got, restored), (wanted, 0))
                self.assertEqual(two.status()["remote"]["spoilt"], 1)
            with self.subTest("full"):
                redis.ask("CONFIG", "SET", "maxmemory", "1")
                two.wait_until(lambda s: s["remote"]["refused"] > 0)
                redis.ask("CONFIG", "SET", "maxmemory", "0")
            with self.subTest("frozen"):
                redis.freeze()
                for i in range(3):
                    two.chat(conversation(f"thing {i}"), n=4)
                remote = two.status()["remote"]
                self.assertGreaterEqual(remote["failures"], 3)
                self.assertEqual(remote["breaker"], "open")
            with self.subTest("killed"):
                redis.stop()
                one.chat(conversation("something new"), n=4)
                one.wait_until(lambda s: s["remote"]["queued_objects"] > 0)
                self.assertIn("Connection refused", one.status()["remote"]["last_error"])
            with self.subTest("back, and told what has waited"):
                redis.start()
                one.wait_until(lambda s: s["remote"]["queued_objects"] == 0
                               and s["remote"]["breaker"] == "closed")
                self.assertGreater(len(redis.values()), 2)
            self.nothing_secret_was_said(one, two, secret=redis.PASSWORD)

    def test_s3_is_shared_by_those_it_knows(self):
        with servers.S3(self.folder) as s3:
            one, two = self.proxy("one", s3.url, s3.keys), self.proxy("two", s3.url, s3.keys)
            self.share_and_bring(one, two)
            self.nothing_secret_was_said(one, two, secret=s3.keys["AWS_SECRET_ACCESS_KEY"])
            stat = ("store", "stat", "--store", os.path.join(self.folder, "two/store"), "--remote",
                    s3.url)
            self.assertIn(f"{s3.url}/: answers", peer.kvsplice(*stat))
            os.environ["AWS_SECRET_ACCESS_KEY"] = "wrong"
            with self.assertRaisesRegex(AssertionError, "403"):
                peer.kvsplice(*stat)

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
