#!/usr/bin/env python3
"""The status page of `kvsplice serve` as a headless Chromium shows it, in front of stub_server.py."""

import http.server
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import unittest
import zlib
from html.parser import HTMLParser

import peer
from proxy import Proxy
from stub_server import Stub, refuses

WIDTHS = {"phone": 400, "desk": 1200}
MARKUP = '<img src="x" onerror="document.title = 1"><b>bold</b>'
LONG = [{"role": "user", "content": peer.start_of("news.txt", 300) + MARKUP}]
OTHER = [{"role": "user", "content": peer.start_of("fiction.txt", 150)}]
# Shows the page at several widths, waits until it has asked, and tells where its elements are.
FRAMES = """<!doctype html><body>%s<pre id="boxes"></pre><script>
const box = e => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; };
const measure = frame => {
  const page = frame.contentDocument, all = what => [...page.querySelectorAll(what)];
  return {
    width: page.documentElement.clientWidth, needed: page.documentElement.scrollWidth,
    order: all('h1, #state, #tiles, h2, .scroll').map(box), tiles: all('.tile').map(box),
    cut: all('.tile, .tile *').filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0)
      .map(e => e.textContent),
    cells: all('#requests tr').map(line => [...line.children].map(box)),
  };
};
setTimeout(() => {
  const found = {};
  document.querySelectorAll('iframe').forEach(frame => { found[frame.id] = measure(frame); });
  document.getElementById('boxes').textContent = JSON.stringify(found);
}, 1500);
</script>""" % "".join(
    f'<iframe id="{name}" width="{width}" height="900" style="border: 0" src="/kvsplice/"></iframe>'
    for name, width in WIDTHS.items())


class Relay(http.server.BaseHTTPRequestHandler):
    """The page beside one that may look into it, because both come from one place."""

    proxy = None

    def do_GET(self):
        status, kind, body = 200, "text/html", FRAMES.encode()
        if self.path != "/":
            status, headers, body = self.proxy.ask("GET", self.path)
            kind = headers.get("Content-Type", "text/plain")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Dom(HTMLParser):
    """Elements in the order in which they begin: tag, attributes, text within."""

    VOID = {"meta", "link", "br", "img", "input", "hr"}

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        element = {"tag": tag, "text": "", "within": [one["id"] for one in self.open], "id": "",
                   **dict(attributes)}
        self.elements.append(element)
        if tag not in self.VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        while self.open and self.open.pop()["tag"] != tag:
            pass

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag, within=""):
        return [one for one in self.elements
                if one["tag"] == tag and (not within or within in one["within"])]

    def texts(self, tag, within):
        return [one["text"] for one in self.all(tag, within)]


def chromium(folder, *arguments):
    """Its standard output. It looks for nothing but what is on this machine."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
               "--disable-dev-shm-usage", "--disable-background-networking", "--disable-sync",
               "--disable-component-update", "--disable-extensions", "--hide-scrollbars",
               "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
               f"--user-data-dir={folder}/chromium", "--virtual-time-budget=3000", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=peer.LIMIT, preexec_fn=peer.end_with_parent)
    if done.returncode != 0:
        raise AssertionError(f"chromium ends with {done.returncode}: {done.stderr[-3000:]}")
    return done.stdout


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.server = cls.enterClassContext(Stub(cls.folder, slots=2))
        cls.proxy = Proxy(cls.folder, "--learn-after", "0",
                          attached=(cls.server.address, cls.folder))
        cls.enterClassContext(cls.proxy)
        cls.have_conversations()
        cls.status = cls.proxy.status()
        cls.page = f"http://127.0.0.1:{cls.proxy.port}/kvsplice/"

    @classmethod
    def have_conversations(cls):
        """One with a picture, one that the server has words for, and one that is restored."""
        cls.proxy.chat(LONG)
        cls.proxy.wait_until_saved()
        picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
        cls.proxy.ask("POST", "/v1/chat/completions", json.dumps({"messages": picture}))
        cls.server.fail({"/apply-template": refuses(400, MARKUP)})
        cls.proxy.chat(OTHER)
        cls.server.lift()
        cls.proxy.chat(OTHER, key="another")
        cls.proxy.chat(OTHER, key="a third")
        assert cls.proxy.chat(LONG)[2] > 200
        cls.proxy.wait_until(lambda status: len(status["requests"]) == 6)
        cls.proxy.wait_until_saved()

    def test_it_says_what_the_status_says(self):
        dom = Dom(chromium(self.folder, "--dump-dom", self.page))
        state = next(one["text"] for one in dom.elements if one["id"] == "state")
        self.assertTrue(state.startswith("ready"), state)
        self.assertIn(self.status["cells"]["model"], state)
        tiles = dict(zip(dom.texts("span", "tiles"), dom.texts("b", "tiles")))
        store = self.status["store"]
        self.assertEqual(tiles["smaller than f16"], f"{store['ratio']:.1f} times")
        self.assertEqual(tiles["tokens stored"], f"{store['tokens']:,}")
        self.assertEqual(tiles["in the store, of 21.47 GB"], f"{store['bytes'] / 1e6:.1f} MB")
        self.check_slots(dom)
        self.check_requests(dom)

    def check_slots(self, dom):
        rows = list(zip(*[iter(dom.texts("td", "slots"))] * 3))
        self.assertEqual(rows, [(str(slot["id"]), f"{slot['tokens']:,}", "idle")
                                for slot in self.status["slots"]])

    def check_requests(self, dom):
        titles = dom.texts("th", "requests")
        rows = [dict(zip(titles, row))
                for row in zip(*[iter(dom.texts("td", "requests"))] * len(titles))]
        self.assertEqual(len(rows), 6)
        for row, served in zip(rows, self.status["requests"]):
            self.assertEqual(row["status"], str(served["status"]))
            self.assertEqual(row["prompt"], f"{served['prompt_tokens']:,}")
            self.assertEqual(row["restored"], f"{served['restored_tokens']:,}")
            self.assertEqual(row["not restored because"], served["why_not_restored"])
        reasons = [row["not restored because"] for row in rows]
        self.assertEqual(reasons[0], "")
        self.assertIn(MARKUP, reasons[3])
        self.assertIn("images or sound", reasons[4])
        # The reason is a text in its cell, and prompts are nowhere.
        self.assertEqual([len(dom.all(tag)) for tag in ("img", "script", "b", "table")],
                         [0, 1, len(dom.all("span")), 2])
        self.assertNotIn(LONG[0]["content"][:40], "".join(one["text"] for one in dom.elements))

    def test_boxes_have_room_at_all_widths(self):
        handler = type("Bound", (Relay,), {"proxy": self.proxy})
        relay = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.addCleanup(relay.server_close)
        self.addCleanup(relay.shutdown)
        threading.Thread(target=relay.serve_forever, args=(0.05,), daemon=True).start()
        address = f"http://127.0.0.1:{relay.server_address[1]}/"
        dom = Dom(chromium(self.folder, "--window-size=1300,1000", "--dump-dom", address))
        found = json.loads(next(one["text"] for one in dom.elements if one["id"] == "boxes"))
        columns = {}
        for name, width in WIDTHS.items():
            with self.subTest(width=width):
                self.check_boxes(found[name], width)
            columns[name] = len({tile[0] for tile in found[name]["tiles"]})
        self.assertLessEqual(columns["phone"], 2)
        self.assertGreaterEqual(columns["desk"], 4)

    def check_boxes(self, found, width):
        self.assertEqual(found["width"], width)
        self.assertLessEqual(found["needed"], width)
        self.assertEqual(found["cut"], [])
        self.assertEqual((len(found["tiles"]), len(found["cells"])), (8, 7))
        for left, top, right, bottom in found["tiles"] + found["order"]:
            self.assertGreaterEqual(left, 0)
            self.assertLessEqual(right, width)
            self.assertGreater(bottom, top)
        # Title, state, tiles, and two headings with their tables, one below the other.
        self.assertEqual(len(found["order"]), 7)
        for above, below in zip(found["order"], found["order"][1:]):
            self.assertLessEqual(above[3], below[1])
        for i, one in enumerate(found["tiles"]):
            for other in found["tiles"][:i]:
                apart = other[2] <= one[0] or other[3] <= one[1] or one[2] <= other[0]
                self.assertTrue(apart, (one, other))
        for row in found["cells"]:
            self.assertEqual(len(row), 12)
            for cell, title in zip(row, found["cells"][0]):
                self.assertEqual((cell[0], cell[2]), (title[0], title[2]))

    def test_there_is_something_to_see(self):
        path = os.path.join(self.folder, "page.png")
        chromium(self.folder, "--window-size=1000,800", f"--screenshot={path}", self.page)
        with open(path, "rb") as file:
            data = file.read()
        self.assertEqual(data[:8], b"\x89PNG\r\n\x1a\n")
        self.assertEqual(struct.unpack_from(">II", data, 16), (1000, 800))
        pixels, at = b"", 8
        while at < len(data):
            length, kind = struct.unpack_from(">I4s", data, at)
            pixels += data[at + 8:at + 8 + length] if kind == b"IDAT" else b""
            at += length + 12
        self.assertGreater(len(set(zlib.decompress(pixels))), 50)
        if folder := os.environ.get("KVSPLICE_PICTURES"):
            shutil.copy(path, folder)


if __name__ == "__main__":
    if not shutil.which("chromium"):
        print("no chromium along PATH: tools/setup.sh --server gets it")
        sys.exit(peer.SKIPPED)
    unittest.main(verbosity=2)
