#!/usr/bin/env python3
"""The library as its users get it: installed and found by pkg-config and by CMake, from C and from
C++, and as a part of somebody else's build. It needs little and exports little."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import this_build

ROOT = Path(os.environ["KVSPLICE_SOURCE_DIR"])
BUILD = this_build.BUILD
GOLDEN = ROOT / "tests/golden/1"
SKIPPED = 77

# What libkvsplice.so may need of a system.
NEEDED = r"(libc|libm|libstdc\+\+|libgcc_s|libhwy|libxxhash|ld-linux-[a-z0-9-]+)\.so(\.\d+)*"

C_PROJECT = """\
cmake_minimum_required(VERSION 3.25)
project(consumer LANGUAGES C)
find_package(kvsplice 0.1 REQUIRED)
add_executable(block {root}/examples/block.c)
target_link_libraries(block kvsplice::kvsplice)
"""

CPP_PROJECT = """\
cmake_minimum_required(VERSION 3.25)
project(consumer LANGUAGES CXX)
find_package(kvsplice 0.1 REQUIRED)
add_executable(session {root}/examples/session.cpp)
target_link_libraries(session kvsplice::kvsplice)
"""

WHOLE_PROJECT = """\
cmake_minimum_required(VERSION 3.25)
project(consumer LANGUAGES C CXX)
add_subdirectory({root} kvsplice)
add_executable(block {root}/examples/block.c)
target_link_libraries(block kvsplice::kvsplice)
"""

# The library asks for none of these.
OF_THE_PROGRAM = ["GTest", "rapidcheck", "benchmark", "CLI11", "nlohmann_json", "llama", "Python3"]


def run(*command, **more):
    command = [str(word) for word in command]
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


def expect(name, met, wanted):
    if met != wanted:
        sys.exit(f"{name}: {met!r}, {wanted!r} was expected")


def expect_match(name, met, pattern):
    if not re.fullmatch(pattern, met):
        sys.exit(f"{name}: {met!r} is not as {pattern!r}")


def install(folder):
    """Into a folder that is moved afterwards: nothing may remember where it was."""
    run("cmake", "--install", BUILD, "--component", "library", "--prefix", folder / "first")
    return (folder / "first").rename(folder / "moved")


def check_files(prefix):
    files = {str(f.relative_to(prefix)) for f in prefix.rglob("*") if not f.is_dir()}
    headers = {f for f in files if f.startswith("include/")}
    expect("headers", headers, {f"include/kvsplice/{h}"
                                for h in ("kvsplice.h", "kvsplice.hpp", "result.h")})
    for file in files - headers:
        expect_match("installed", file, r"lib[^/]*/(.*/)?(lib)?kvsplice[^/]*\.(so[.\d]*|cmake|pc)")


def check_library(library):
    dynamic = run("readelf", "-d", library)
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
    expect("libc among those needed", "libc.so.6" in needed, True)
    for name in needed + re.findall(r"^\s+(\S+) => ", run("ldd", library), re.M):
        expect_match("needed", name, NEEDED)
    expect("RPATH", re.findall(r"\((?:RPATH|RUNPATH)\).*", dynamic), [])
    header = (ROOT / "include/kvsplice/kvsplice.h").read_text()
    declared = set(re.findall(r"^KVS_API [^;(]*?(kvs_\w+)\(", header, re.M))
    exported = {line.split()[-1] for line in run("nm", "-D", "--defined-only", library).splitlines()}
    expect("exported and declared", exported, declared)


def check_block(program, environment=None):
    """Encodes and decodes; what it says must not depend on how it was built."""
    said = [run(program, GOLDEN / f"{name}.gguf", env=environment)
            for name in ("klt", "default", "exact-range")]
    for line in said:
        expect_match("block", line, r"64 tokens in \d{4,5} bytes, key 0: -?\d\.\d{3}\n")
    return said


def check_session(program, environment):
    lossless = run(program, GOLDEN / "lossless.kvz", env=environment)
    coded = run(program, GOLDEN / "klt.kvz", GOLDEN / "klt.gguf", env=environment)
    expect_match("lossless", lossless, r"34 tokens, 2 of them pending, of model 0{32}\n"
                                       r"key of a token near the end: -?\d+\.\d{4} \.\.\.\n")
    expect_match("coded", coded, r"32 tokens, 0 of them pending, (.*\n){2}")


def cmake(folder, project, *options):
    folder.mkdir()
    (folder / "CMakeLists.txt").write_text(project.format(root=ROOT))
    run("cmake", "-S", folder, "-B", folder / "build", "-G", "Ninja", *options)
    run("cmake", "--build", folder / "build", "--parallel", os.environ.get("JOBS", "2"))
    return folder / "build"


def main():
    if not list(BUILD.glob("lib/libkvsplice.so.*")):
        print("libkvsplice.so has not been built")
        return SKIPPED
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prefix = install(folder)
        check_files(prefix)
        library = next(prefix.glob("lib*/**/libkvsplice.so"))
        check_library(library)

        found = {**os.environ, "PKG_CONFIG_PATH": str(next(prefix.rglob("pkgconfig"))),
                 "LD_LIBRARY_PATH": str(library.parent)}
        flags = run("pkg-config", "--cflags", "--libs", "kvsplice", env=found).split()
        run("cc", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror",
            ROOT / "examples/block.c", "-o", folder / "block", *flags)
        said = check_block(folder / "block", found)

        where = f"-DCMAKE_PREFIX_PATH={prefix}"
        expect("from C", check_block(cmake(folder / "c", C_PROJECT, where) / "block"), said)
        check_session(cmake(folder / "cpp", CPP_PROJECT, where) / "session", None)

        without = [f"-DCMAKE_DISABLE_FIND_PACKAGE_{package}=ON" for package in OF_THE_PROGRAM]
        same = [f"-D{name}={value}" for name, value in this_build.settings().items()]
        whole = cmake(folder / "whole", WHOLE_PROJECT, *without, *same)
        expect("as a part", check_block(whole / "block"), said)
        expect("shared libraries built", list(whole.rglob("*.so")), [])
    return 0


if __name__ == "__main__":
    sys.exit(main())
