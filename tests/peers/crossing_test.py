#!/usr/bin/env python3
"""What one of llama.cpp's programs has begun another goes on with: llama-server's slots become
sessions of llama-completion, and the other way round. Each wants the list of tokens its own way."""

import os
import tempfile
import unittest

import peer

CACHE = peer.CACHES[0]


class Crossing(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.text = peer.start_of("news.txt", 1000)

    def test_a_slot_goes_on_in_llama_completion(self):
        with peer.Server(self.folder, CACHE, "-np", "1") as server:
            begun = server.tokens_of(self.text)
            server.complete(0, begun, 1)
            path, saved = server.save(0, "slot")
            self.assertEqual(saved, len(begun))
            wanted = server.text_of(server.complete(0, begun, 32)[0])
        back = peer.detour(path, *peer.wishes(path, "session", CACHE))
        printed = peer.go_on(CACHE, back, 32)
        self.assertEqual(printed.strip(), (self.text + wanted).strip())

    def test_a_session_goes_on_in_llama_server(self):
        session = os.path.join(self.folder, "session")
        peer.complete(CACHE, session, self.text, 1)
        wanted = peer.go_on(CACHE, session, 32)
        back = peer.detour(session, *peer.wishes(session, "sequence", CACHE))
        with peer.Server(self.folder, CACHE, "-np", "1") as server:
            begun = server.tokens_of(self.text)
            self.assertEqual(server.restore(0, back), len(begun) - 1)
            tokens, cached = server.complete(0, begun, 32)
            self.assertEqual(cached, len(begun) - 1)
            self.assertEqual((self.text + server.text_of(tokens)).strip(), wanted.strip())


if __name__ == "__main__":
    peer.program("llama-server")
    peer.program("llama-completion")
    unittest.main(verbosity=2)
