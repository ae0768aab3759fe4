"""What conversations of llama-cpp-python take in its own caches and in ours.

    python llama_cache.py model.gguf TEXT [TEXT ...] [--codec codec.gguf]

Each text is a conversation that is kept twice, the second time a hundred tokens longer. Bytes of
all, seconds of keeping them, and of restoring the last.
"""
import argparse
import os
import tempfile
import time

import llama_cpp

import kvsplice


def bytes_in(folder):
    return sum(os.path.getsize(os.path.join(at, name))
               for at, _, names in os.walk(folder) for name in names)


def conversations(options):
    """Tokens and states, in the order in which they are kept."""
    llm = llama_cpp.Llama(options.model, n_ctx=options.tokens + 100, verbose=False,
                          n_threads_batch=options.threads)
    kept = []
    for path in options.texts:
        with open(path, "rb") as file:
            tokens = llm.tokenize(file.read())[:options.tokens + 100]
        llm.reset()
        for part in (tokens[:-100], tokens[-100:]):
            llm.eval(part)
            kept.append((tokens[:llm.n_tokens], llm.save_state()))
    return kept


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--codec")
    parser.add_argument("--tokens", type=int, default=500, help="of each text, at first")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    makers = {
        "LlamaRAMCache": lambda folder: llama_cpp.LlamaRAMCache(),
        "LlamaDiskCache": lambda folder: llama_cpp.LlamaDiskCache(folder),
        "ours, lossless": lambda folder: kvsplice.LlamaCache(model=options.model, path=folder),
        "ours, in a store": lambda folder: kvsplice.LlamaCache(model=options.model, store=folder),
    }
    if options.codec:
        makers["ours, codec"] = lambda folder: kvsplice.LlamaCache(
            options.codec, model=options.model, path=folder)
        makers["codec, in a store"] = lambda folder: kvsplice.LlamaCache(
            options.codec, model=options.model, store=folder)
    kept = conversations(options)
    for name, make in makers.items():
        with tempfile.TemporaryDirectory() as folder:
            cache, start = make(folder), time.monotonic()
            for tokens, state in kept:
                cache[tokens] = state
            middle = time.monotonic()
            size = bytes_in(folder) or sum(
                s.llama_state_size + s.scores.nbytes + s.input_ids.nbytes
                for s in cache.cache_state.values())
            restored = cache[kept[-1][0]]  # which LlamaDiskCache deletes
            restored.scores, restored.llama_state
            end = time.monotonic()
            same = restored.llama_state == kept[-1][1].llama_state
            print(f"{name:17} {size / 1e6:8.2f} MB   kept in {middle - start:.2f} s, "
                  f"restored in {end - middle:.2f} s, {'the same' if same else 'other'} cells",
                  flush=True)


if __name__ == "__main__":
    main()
