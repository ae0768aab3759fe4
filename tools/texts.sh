#!/usr/bin/env bash
# Texts to calibrate on, of several kinds, from Debian packages (nothing is installed): novels
# (r-cran-janeaustenr), a lexicon (jargon-text), essays (anarchism), sayings and chat (fortunes),
# and code (this project's own). Files that are there are left alone.
#
#   tools/texts.sh DIR
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=$(realpath -m "${1:?name a folder for the texts}")

packages=(r-cran-janeaustenr jargon-text anarchism fortunes)

if [[ ! -s $out/sayings.txt ]]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  cd "$work"
  apt-get download -qq "${packages[@]}" 2>/dev/null ||
    { echo "texts: apt-get cannot download ${packages[*]}" >&2; exit 1; }
  for file in *.deb; do dpkg-deb -x "$file" unpacked; done
  python3 "$root/tools/texts.py" unpacked "$out"
fi
find "$root/src" -name '*.cc' | LC_ALL=C sort | xargs cat >"$out/code.txt"
