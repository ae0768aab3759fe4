"""llama-cpp-python's classes that LlamaCache builds on, for where that package is not."""

import sys
import types

try:
    from llama_cpp.llama import Llama, LlamaState
except ImportError:
    class Llama:
        pass

    class LlamaState:
        def __init__(self, input_ids, scores, n_tokens, llama_state, llama_state_size, seed):
            self.input_ids, self.scores, self.n_tokens = input_ids, scores, n_tokens
            self.llama_state, self.llama_state_size = llama_state, llama_state_size
            self.seed = seed

    class BaseLlamaCache:
        def __init__(self, capacity_bytes=2 << 30):
            self.capacity_bytes = capacity_bytes

    for name, has in {"llama_cpp": {"LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED": -1},
                      "llama_cpp.llama": {"Llama": Llama, "LlamaState": LlamaState},
                      "llama_cpp.llama_cache": {"BaseLlamaCache": BaseLlamaCache}}.items():
        module = types.ModuleType(name)
        module.__dict__.update(has)
        sys.modules[name] = module
