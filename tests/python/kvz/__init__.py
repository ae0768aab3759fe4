"""A second reader of session.kvz and codec.gguf, from their specifications (docs/format.md, docs/codecs.md,
docs/extract.md, src/codec/*/*/spec.md) alone. It shares no code with ours."""

from .codec import Codec, Shape
from .embedding import Embedding
from .reading import Bits, Bytes, Damaged, expect, xxh64
from .session import Session
