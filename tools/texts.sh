#!/usr/bin/env bash
# Texts to calibrate on, of several kinds, from Debian packages (nothing is installed): novels
# (r-cran-janeaustenr), a lexicon (jargon-text), essays (anarchism), sayings and chat (fortunes),
# and code (libcli11-dev). Nothing is done if these scripts have made the texts before.
#
#   tools/texts.sh DIR
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=$(realpath -m "${1:?name a folder for the texts}")

packages=(r-cran-janeaustenr jargon-text anarchism fortunes libcli11-dev)
mark=$out/.made-by-$(cat "$root"/tools/texts.* | sha256sum | cut -c1-12)
[[ -f $mark ]] && exit

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq "${packages[@]}" 2>/dev/null ||
  { echo "texts: apt-get cannot download ${packages[*]}" >&2; exit 1; }
for file in *.deb; do dpkg-deb -x "$file" unpacked; done
python3 "$root/tools/texts.py" unpacked "$out"
touch "$mark"
