#!/usr/bin/env python3
"""llama-server and the proxy are killed at random moments while clients ask: only what is in flight at
the killed part fails, the service comes back by itself or after a start, and the store stays sound.

KVSPLICE_KILLS=300 kills as often; a few times unless it says so."""

import os
import random
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import peer
from proxy import Proxy, conversation

KILLS = int(os.environ.get("KVSPLICE_KILLS", "6"))
TOPICS = ("the weather", "trade", "sport")


def own_lines(proxy):
    """Of the log, without llama-server's."""
    lines = [line for line in proxy.log().splitlines() if line.startswith(("20", "---"))]
    return "\n".join(lines[-30:])


class Client(threading.Thread):
    """Asks again and again, whatever happens, and notes what failed and when."""

    def __init__(self, proxy, topic):
        super().__init__(daemon=True)
        self.proxy = proxy
        self.prompt = conversation(topic, 1200)
        self.answers, self.failures, self.ending = 0, [], False

    def run(self):
        while not self.ending:
            begun = time.monotonic()
            try:
                self.proxy.chat(self.prompt, n=4)
                self.answers += 1
            except Exception:  # noqa: BLE001: of whatever kind, it is counted
                self.failures.append((begun, time.monotonic()))
                time.sleep(0.1)


class Kills(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def kill_one(self, proxy, rand, clients):
        """When it began to be away, and when it was back. Some answers come before."""
        answers = sum(client.answers for client in clients)
        end = time.monotonic() + peer.LIMIT
        while sum(client.answers for client in clients) < answers + 2:
            self.assertLess(time.monotonic(), end, "no answers any more\n" + own_lines(proxy))
            time.sleep(0.05)
        time.sleep(rand.uniform(0, 1))
        begun = time.monotonic()
        if rand.random() < 0.5:
            starts = proxy.status()["server"]["starts"]
            os.kill(proxy.server_pid(), signal.SIGKILL)
            proxy.wait_until(lambda s: s["server"]["starts"] > starts and s["state"] == "ready")
        else:
            proxy.stop(signal.SIGKILL)
            proxy.start()
        return begun, time.monotonic()

    def test_only_what_is_in_flight_fails(self):
        rand = random.Random(7)
        proxy = Proxy(self.folder)
        with proxy:
            clients = [Client(proxy, topic) for topic in TOPICS]
            for client in clients:
                client.start()
            away = [self.kill_one(proxy, rand, clients) for _ in range(KILLS)]
            for client in clients:
                client.ending = True
            for client in clients:
                client.join(peer.LIMIT)
            proxy.wait_until(lambda s: s["files_waiting"] == 0)
            _, cached, restored = proxy.chat(clients[0].prompt, n=4)
            self.assertGreater(cached, 100)
        self.assertGreaterEqual(sum(client.answers for client in clients), 2 * KILLS)
        for client in clients:
            for begun, ended in client.failures:
                known = any(begun < back and ended > gone for gone, back in away)
                self.assertTrue(known, f"failed while nothing was away: {begun} {ended} {away}")
        done = subprocess.run([os.environ["KVSPLICE_BINARY"], "store", "verify", "--store",
                               os.path.join(self.folder, "store")], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        print(f"{KILLS} kills, {sum(c.answers for c in clients)} answers, "
              f"{sum(len(c.failures) for c in clients)} failures in flight, back after at most "
              f"{max(back - gone for gone, back in away):.1f} s; {done.stdout.strip()}")


if __name__ == "__main__":
    peer.program("llama-server")
    unittest.main(verbosity=2)
