#!/usr/bin/env python3
"""Sessions that the real llama-completion saves (--prompt-cache) are packed without loss, unpacked
and loaded by it: it goes on as from the file it saved itself."""

import os
import tempfile
import unittest

import peer


class PromptCaches(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.text = peer.start_of("news.txt", 1000)

    def next_texts(self, cache, session):
        """What follows all that the session holds, and what follows another end of the text."""
        printed, said = peer.complete(cache, session, self.text + " And then", 32,
                                      "--prompt-cache-ro")
        self.assertIn("session file matches", said)
        return peer.go_on(cache, session, 32), printed

    def goes_on_as_before(self, cache, *options):
        session = os.path.join(self.folder, "-".join(cache))  # a file that is there would be loaded
        peer.complete(cache, session, self.text, 16, *options)
        wanted = self.next_texts(cache, session)
        self.assertGreater(len(wanted[0]), len(self.text))
        back = peer.detour(session, "--like", session)
        self.assertEqual(self.next_texts(cache, back), wanted)

    def test_of_every_kind_go_on_as_before(self):
        for cache in peer.CACHES:
            with self.subTest(cache=cache):
                self.goes_on_as_before(cache, "--prompt-cache-all")

    def test_saved_before_the_answer_go_on_as_before(self):
        self.goes_on_as_before(peer.CACHES[0])


if __name__ == "__main__":
    peer.program("llama-completion")
    unittest.main(verbosity=2)
