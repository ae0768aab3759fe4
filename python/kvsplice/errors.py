"""What goes wrong: one sentence, and a status that programs can look at."""

import enum


class Status(enum.IntEnum):
    """Kinds of errors. The numbers are those of kvs_status in kvsplice.h."""

    USAGE = 1
    """An argument is not legal."""
    IO = 2
    """The operating system refused."""
    FORMAT = 3
    """Bytes that are not what they claim to be."""
    MISMATCH = 4
    """Sound, but of another model or codec."""
    UNSUPPORTED = 5
    """Sound, but outside what this version handles."""
    NUMERIC = 6
    """Not a number, or beyond what can be coded."""
    MEMORY = 7
    """There is not enough."""
    INTERRUPTED = 8
    """A callback asked to stop."""


class Error(Exception):
    """What is wrong, which value was met, and what would have been legal."""

    status: Status

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = Status(status)
