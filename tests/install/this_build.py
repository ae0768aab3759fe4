"""The build that is tested, for tests that build something like it."""

import os
import re
from pathlib import Path

BUILD = Path(os.environ["KVSPLICE_BINARY"]).parent


def settings():
    """Variables of CMake. With the same ones ccache, where it is there, knows the objects."""
    cache = (BUILD / "CMakeCache.txt").read_text()
    names = r"CMAKE_BUILD_TYPE|CMAKE_CXX_COMPILER|CMAKE_C_COMPILER|KVSPLICE_WERROR"
    return dict(re.findall(rf"^({names}):\w+=(.*)$", cache, re.M))
