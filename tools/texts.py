#!/usr/bin/env python3
"""Plain texts out of unpacked packages, for calibration and tests: one file per kind in OUT.

Usage: texts.py PACKAGES OUT KIND...    (tools/texts.sh unpacks the packages and calls this)
"""
import gzip
import html
import pathlib
import re
import struct
import sys
import zlib

LARGEST = 2_000_000  # characters of a kind: far more than a calibration reads


def strings_of_r_data(path):
    """Character vectors of R's lazy-load database: zlib blocks of serialised objects, in which a
    string is its type (9), its length and its bytes."""
    data = path.read_bytes()
    at = 0
    while at < len(data):  # u32 length unpacked, then a zlib stream
        unpack = zlib.decompressobj()
        block = unpack.decompress(data[at + 4 :])
        at = len(data) - len(unpack.unused_data)
        for match in re.finditer(rb"\x00\x04\x00\x09(....)", block, re.DOTALL):
            (length,) = struct.unpack(">I", match[1])
            yield block[match.end() : match.end() + length].decode("utf-8", "replace")


def novels(root):
    path = root / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"
    return "\n".join(line for line in strings_of_r_data(path))


def lexicon(root):
    text = gzip.open(root / "usr/share/doc/jargon-text/jargon.txt.gz", "rt", errors="replace").read()
    lines = (line.strip() for line in text.splitlines() if not re.search("[│├─┤└]", line))
    return "\n".join(lines)


def essays(root):
    pages = sorted((root / "usr/share/doc/anarchism/html").glob("sec*.html"))
    text = "\n".join(page.read_text(errors="replace") for page in pages)
    text = re.sub(r"(?s)<(script|style|head).*?</\1>", "", text)
    text = re.sub(r"\s+", " ", text)
    text = html.unescape(re.sub(r"<[^>]*>", "", re.sub(r"</?(p|br|h\d|li)\b[^>]*>", "\n", text)))
    return re.sub(r"\s*\n\s*", "\n\n", text)


def sayings(root):
    folder = root / "usr/share/games/fortunes"
    names = ("knghtbrd", "people", "wisdom", "humorists", "definitions")
    return "\n".join((folder / name).read_text(errors="replace") for name in names).replace("\n%", "\n")


def code(root):
    return "".join(path.read_text() for path in sorted((root / "usr/include/CLI").glob("*.hpp")))


def news(root):
    return (root / "gensim/test/test_data/lee_background.cor").read_text(errors="replace")


def law(root):
    folder = root / "usr/share/common-licenses"
    return "".join((folder / name).read_text() for name in ("GPL-3", "MPL-1.1", "CC0-1.0"))


def manual(root):
    path = root / "usr/share/doc/debian-policy/policy.txt.gz"
    return gzip.open(path, "rt", errors="replace").read()


def main():
    packages, out = map(pathlib.Path, sys.argv[1:3])
    out.mkdir(parents=True, exist_ok=True)
    makers = {kind.__name__: kind for kind in (novels, lexicon, essays, sayings, code, news, law, manual)}
    for name in sys.argv[3:]:
        text = makers[name](packages)[:LARGEST]
        (out / f"{name}.txt").write_text(text)
        print(f"{out}/{name}.txt: {len(text)} characters")


main()
