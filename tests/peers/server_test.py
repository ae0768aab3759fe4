#!/usr/bin/env python3
"""Slots that the real llama-server saves are packed without loss, unpacked and restored by it: it
goes on as from the file it saved itself."""

import os
import tempfile
import unittest

import peer

# Options, slots, streams in a slot's file: one unless each slot has a cache of its own.
SERVERS = [(["-np", "1"], 1, 1), (["-np", "4"], 4, 4), (["-np", "4", "--kv-unified"], 4, 1)]


class Slots(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def goes_on_as_before(self, cache, options, slots, streams):
        with peer.Server(self.folder, cache, *options) as server:
            begun = server.tokens_of(peer.start_of("news.txt", 1000))
            begun += server.complete(slots // 2, begun, 16)[0]
            path, saved = server.save(slots // 2, "slot")
            self.assertEqual(saved, len(begun) - 1, "the newest token has no cell yet")

            def next_tokens(path):
                self.assertEqual(server.restore(slots - 1, path), saved)
                tokens, cached = server.complete(slots - 1, begun, 32)
                self.assertEqual(cached, saved, "cells of the file were not used")
                return tokens

            wanted = next_tokens(path)
            back = peer.detour(path, *peer.wishes(path, "sequence", cache, streams))
            self.assertEqual(next_tokens(back), wanted)

    def test_of_every_kind_go_on_as_before(self):
        for options, slots, streams in SERVERS:
            for cache in peer.CACHES:
                with self.subTest(server=options, cache=cache):
                    self.goes_on_as_before(cache, options, slots, streams)

    def test_without_tokens_are_refused_and_leave_nothing(self):
        with peer.Server(self.folder, peer.CACHES[0], "-np", "1") as server:
            path, saved = server.save(0, "empty")
        self.assertEqual(saved, 0)
        with self.assertRaisesRegex(AssertionError, "no tokens|empty"):
            peer.kvsplice("pack", path, "-m", peer.MODEL, "--lossless", "-o", path + ".kvz")
        self.assertFalse(os.path.exists(path + ".kvz"))


if __name__ == "__main__":
    peer.program("llama-server")
    unittest.main(verbosity=2)
