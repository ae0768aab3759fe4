#!/usr/bin/env bash
# The main job on the small model, from texts to a report: extract and analyse two kinds of text, fit
# codecs on them, judge the codecs at tensor level and in the loop on a third kind, and report.
set -euo pipefail
cd "$(dirname "$0")/.."

program=${PROGRAM:-build/kvsplice}
model=${MODEL:-$(tools/setup.sh --paths | sed -n 's/^model=//p')}
out=${OUT:-out/quickstart}
mkdir -p "$out"

step() { printf '\n== %s\n' "$*"; }

step "keys, values and queries of two texts"
"$program" extract -m "$model" -f samples/fiction.txt samples/technical.txt -n 2048 -o "$out/dump.gguf"

step "what their statistics say"
"$program" analyse "$out/dump.gguf" -o "$out/analysis"

step "three codecs, fitted on both texts"
"$program" fit "$out/dump.gguf" --codec 'klt(scope=layer) | step(delta=0.6)' -o "$out/klt-layer.gguf"
"$program" fit "$out/dump.gguf" --codec 'klt(scope=head) | step(delta=0.75)' -o "$out/klt-head.gguf"
"$program" fit "$out/dump.gguf" --codec 'hadamard | uniform(bits=4,block=32)' -o "$out/hadamard4.gguf"

step "their errors, tensor by tensor"
"$program" extract -m "$model" -f samples/news.txt -n 1024 -o "$out/news.gguf"
"$program" evaluate "$out/news.gguf" "$out/klt-layer.gguf" "$out/klt-head.gguf" "$out/hadamard4.gguf" \
    -o "$out/evaluation"

step "their quality in the loop, on a text of a kind absent from calibration"
"$program" quality -m "$model" -f samples/news.txt --ctx 1024 --chunks 2 \
    --cache q8_0 --cache q5_1 --cache q4_0 --cache floor \
    --cache "$out/klt-layer.gguf" --cache "$out/klt-head.gguf" --cache "$out/hadamard4.gguf" \
    -o "$out/quality"

"$program" report "$out/analysis" "$out/evaluation" "$out/quality" -o "$out/report.html" \
    --title "KVSplice quick start"
printf '\nThe report: %s\n' "$(realpath "$out/report.html")"
