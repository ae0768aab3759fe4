#!/usr/bin/env bash
# The main job on the small model. `make quickstart` has built the program before.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build/kvsplice --version
