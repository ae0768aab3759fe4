# The front door. Everything is built by CMake; these are the commands by name.

JOBS ?= $(shell nproc)
PRESET := release
PROGRAM := build/kvsplice
PREFIX ?= /usr/local
CONFIGURE = cmake --preset $(PRESET) -DKVSPLICE_LLAMA_DIR=$(LLAMA_DIR) $(CMAKE_FLAGS)
BUILD = cmake --build --preset $(PRESET) --parallel $(JOBS)
# A path of yours may be relative; CMake and the scripts run elsewhere.
override LLAMA_DIR := $(abspath $(LLAMA_DIR))
export LLAMA_DIR JOBS

.DEFAULT_GOAL := help
.PHONY: help quickstart build install test skipped bench experiment-nerf-attention experiment-kvsplice \
        quick format check clean setup

help:  ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 28
	@echo
	@echo 'JOBS=N limits parallel work; LLAMA_DIR=DIR uses your llama.cpp (install prefix or source tree).'

quickstart: build  ## get what is missing, build, run the main job on a small model
	tools/quickstart.sh

setup:  ## get what is missing: packages, llama.cpp, the small model
	tools/setup.sh

build: setup  ## build the program, build/kvsplice
	@echo 'building the program (five minutes on two cores, the first time)'
	$(CONFIGURE)
	$(BUILD) --target kvsplice_program

install: build  ## install the program and the library for others' programs below PREFIX
	$(BUILD) --target kvsplice_shared
	cmake --install build --prefix $(abspath $(PREFIX)) --component program
	cmake --install build --prefix $(abspath $(PREFIX)) --component library

test:  ## build and run every test
	tools/setup.sh --tests
	@echo 'building program and tests (fifteen minutes on two cores, the first time)'
	$(CONFIGURE) -DKVSPLICE_TESTS=ON
	$(BUILD)
	ctest --preset $(PRESET) --parallel $(JOBS) --no-label-summary

skipped:  ## what the last `make test` left out, and why
	@sed -n '/: Skipped$$/{n;p}' build/Testing/Temporary/LastTest.log | sort | uniq -c

bench: build  ## compare our kernels and codecs with their peers and with the machine's limits
	$(PROGRAM) bench

experiment-nerf-attention: build  ## the study "can a KV cache be computed?", in full
	$(PROGRAM) experiment nerf-attention -o out/nerf-attention

experiment-kvsplice: build  ## the study "do learned warps before PCA beat PCA?", in full
	$(PROGRAM) experiment kvsplice -o out/kvsplice

quick: build  ## both studies, small
	$(PROGRAM) experiment nerf-attention --quick -o out/quick/nerf-attention
	$(PROGRAM) experiment kvsplice --quick -o out/quick/kvsplice

format:  ## lay out the C++ sources with clang-format 14
	tools/format

check:  ## what CI checks without building: format, layers, hosts and paths
	tools/format --check
	tools/check_layers
	tools/check_tree

clean:  ## remove what was built, not what was downloaded
	rm -rf build build-* out
