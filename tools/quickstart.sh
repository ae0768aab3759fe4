#!/usr/bin/env bash
# The main job on the small model, from texts to a report: extract and analyse two kinds of text, fit
# codecs on them, calibrate one on texts of five kinds out of Debian packages (tools/texts.sh), judge
# all at tensor level and in the loop on another kind, and report.
set -euo pipefail
cd "$(dirname "$0")/.."

program=${PROGRAM:-build/kvsplice}
place() { tools/setup.sh --paths | sed -n "s/^$1=//p"; }
model=${MODEL:-$(place model)}
texts=$(place texts)
out=${OUT:-out/quickstart}
mkdir -p "$out"

step() { printf '\n== after %d s: %s\n' "$SECONDS" "$*"; }  # times in brackets: on two cores

step "keys, values and queries of two texts (20 s)"
"$program" extract -m "$model" -f samples/fiction.txt samples/technical.txt -n 2048 -o "$out/dump.gguf"

step "what their statistics say (10 s)"
"$program" analyse "$out/dump.gguf" -o "$out/analysis"

step "a codec calibrated on novels, a lexicon, essays, sayings and code (three minutes)"
tools/texts.sh "$texts"
"$program" calibrate -m "$model" -f "$texts"/*.txt -n 20480 --work "$out/rows" \
    --codec 'layers(history=3) | focus | fisher | klt(stored=packed) | step(delta=1.2,recall=512) | range' -o "$out/layers.gguf"

step "two plain codecs, fitted on both texts (10 s)"
fit() { "$program" fit "$out/dump.gguf" -m "$model" --codec "$1" -o "$out/$2.gguf"; }
fit 'klt(scope=layer) | step(delta=0.6) | range' klt-layer
fit 'hadamard | uniform(bits=4,block=32)' hadamard4

step "their errors, tensor by tensor (20 s)"
"$program" extract -m "$model" -f samples/news.txt -n 1024 -o "$out/news.gguf"
"$program" evaluate "$out/news.gguf" -m "$model" "$out/layers.gguf" "$out/klt-layer.gguf" \
    "$out/hadamard4.gguf" -o "$out/evaluation"

step "their quality in the loop, on a text of a kind absent from calibration (three minutes)"
"$program" quality -m "$model" -f samples/news.txt --ctx 1024 --chunks 2 \
    --cache q8_0 --cache q4_0 --cache floor \
    --cache "$out/layers.gguf" --cache "$out/klt-layer.gguf" --cache "$out/hadamard4.gguf" \
    -o "$out/quality"

step "a prompt packed, and generation that goes on from it (10 s)"
"$program" pack -m "$model" -f samples/news.txt -n 1024 --codec "$out/layers.gguf" -o "$out/news.kvz"
"$program" inspect "$out/news.kvz"
"$program" run -m "$model" --load "$out/news.kvz" --codec "$out/layers.gguf" -p ' Meanwhile,' -n 32 --temp 0

server=$(place server)
if [[ -x $server ]]; then
    step "two conversations with llama-server, everything killed, and the third turn (one minute)"
    "$(place python)" tools/serve_demo "$program" "$server" "$model" "$out/layers.gguf" "$out/store" samples/news.txt
fi

"$program" report "$out/analysis" "$out/evaluation" "$out/quality" -o "$out/report.html" \
    --title "KVSplice quick start"
printf '\nThe report: %s\n' "$(realpath "$out/report.html")"
[[ -x $server ]] || printf 'tools/setup.sh --server builds llama-server (five minutes); then this ends with kvsplice serve.\n'

