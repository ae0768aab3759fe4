#!/usr/bin/env python3
"""Builds the Python package as pip does, and runs pytest and an example on it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
SKIPPED = 77

sys.path.insert(0, str(ROOT / "tests/install"))

import this_build  # noqa: E402


def run(*command, **more):
    return subprocess.run([str(word) for word in command], **more).returncode


def install(python, folder):
    settings = [f"--config-settings=cmake.define.{name}={value}"
                for name, value in this_build.settings().items()
                if name != "CMAKE_BUILD_TYPE"]  # which pyproject.toml says
    return run(python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps",
               "--no-build-isolation", "--target", folder, *settings, ROOT)


def main():
    python = os.environ.get("KVSPLICE_TEST_PACKAGE_PYTHON", "")
    if not os.path.exists(python):
        print("no Python environment to build the package in: run tools/setup.sh --python")
        return SKIPPED
    with tempfile.TemporaryDirectory() as folder:
        if install(python, folder) != 0:
            return 1
        environment = {**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        failed = run(python, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider",
                     "-o", "python_files=test_*.py", Path(__file__).parent, env=environment,
                     cwd=folder)
        return failed or run(python, ROOT / "examples" / "block.py",
                             ROOT / "tests" / "golden" / "1" / "klt.gguf", env=environment)


if __name__ == "__main__":
    sys.exit(main())
