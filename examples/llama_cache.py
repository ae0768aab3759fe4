"""Conversations of llama-cpp-python under its own caches and under KVSplice's: bytes, seconds, texts.

    python llama_cache.py model.gguf TEXT [TEXT ...] [--codec codec.gguf]

Each text begins one conversation. They take turns, two each.
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


def talk(model, cache, prompts, n_ctx):
    llm = llama_cpp.Llama(model, n_ctx=n_ctx, verbose=False)
    llm.set_cache(cache)
    texts, spent = list(prompts), 0.0
    for _ in range(2):
        for i, text in enumerate(texts):
            start = time.monotonic()
            out = llm(text, max_tokens=32, temperature=0)["choices"][0]["text"]
            spent += time.monotonic() - start
            texts[i] = text + out + "\nGo on.\n"
    return [text[len(prompt):] for text, prompt in zip(texts, prompts)], spent


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--codec")
    parser.add_argument("--characters", type=int, default=2000, help="of each text")
    parser.add_argument("--n-ctx", type=int, default=1024)
    options = parser.parse_args()
    prompts = [open(path).read()[:options.characters] for path in options.texts]

    makers = {
        "LlamaRAMCache": lambda folder: llama_cpp.LlamaRAMCache(),
        "LlamaDiskCache": lambda folder: llama_cpp.LlamaDiskCache(folder),
        "kvsplice, lossless": lambda folder: kvsplice.LlamaCache(model=options.model, path=folder),
    }
    if options.codec:
        makers["kvsplice, codec"] = lambda folder: kvsplice.LlamaCache(
            options.codec, model=options.model, path=folder)
    first = None
    for name, make in makers.items():
        with tempfile.TemporaryDirectory() as folder:
            cache = make(folder)
            answers, spent = talk(options.model, cache, prompts, options.n_ctx)
            size = bytes_in(folder)
            if name == "LlamaRAMCache":
                first = answers
                size = sum(s.llama_state_size + s.scores.nbytes + s.input_ids.nbytes
                           for s in cache.cache_state.values())
            same = sum(a == b for a, b in zip(answers, first))
            print(f"{name:20} {size / 1e6:9.2f} MB {spent:7.1f} s   "
                  f"{same} of {len(prompts)} conversations like the first line's", flush=True)


if __name__ == "__main__":
    main()
