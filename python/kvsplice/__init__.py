"""Compressed key-value caches of language models.

A `Codec` turns the keys and values of consecutive tokens into bytes and back; it is fitted for one
model by the program `kvsplice calibrate`. A `Session` is a file of such blocks, and a `Store` a
folder of many prompts'. `LlamaCache` keeps the prompts of llama-cpp-python compressed.
"""

from typing import TYPE_CHECKING, Any

from ._core import version as _version
from .codec import Codec, Layer, Rows
from .dump import Dump, read_dump
from .embeddings import Embeddings, EmbeddingTable
from .errors import Error, Status
from .recurrent import RecurrentState
from .session import Session
from .state import State, pack_state, unpack_state
from .store import Bank, Match, Store, model_fingerprint

if TYPE_CHECKING:
    from .llama import LlamaCache

__version__ = _version()
__all__ = [
    "Bank", "Codec", "Dump", "EmbeddingTable", "Embeddings", "Error", "Layer", "LlamaCache",
    "Match", "RecurrentState", "Rows", "Session", "State", "Status", "Store",
    "model_fingerprint", "pack_state", "read_dump", "unpack_state",
]


def __getattr__(name: str) -> Any:
    """LlamaCache alone needs llama-cpp-python, which is imported when it is first asked for."""
    if name == "LlamaCache":
        from .llama import LlamaCache
        return LlamaCache
    raise AttributeError(f"module 'kvsplice' has no attribute {name!r}")
