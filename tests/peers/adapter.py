"""A LoRA adapter made from a seed, of the keys of all layers of SmolLM2-135M."""

import random
import struct

LAYERS, WIDTH, KEYS, RANK = 30, 576, 192, 4
STRING, FLOAT = 8, 6  # types of GGUF's metadata
ALIGNMENT = 32


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key, value):
    if isinstance(value, str):
        return text(key) + struct.pack("<I", STRING) + text(value)
    return text(key) + struct.pack("<If", FLOAT, value)


def write(path, seed=1, size=0.2):
    rand = random.Random(seed)
    entries = [entry(*pair) for pair in {
        "general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora",
        "adapter.lora.alpha": float(RANK)}.items()]
    infos, data = [], b""
    for layer in range(LAYERS):
        for kind, shape in (("a", (WIDTH, RANK)), ("b", (RANK, KEYS))):
            values = [rand.gauss(0, size) for _ in range(shape[0] * shape[1])]
            infos.append(text(f"blk.{layer}.attn_k.weight.lora_{kind}")
                         + struct.pack("<IQQIQ", 2, *shape, 0, len(data)))
            data += struct.pack(f"<{len(values)}f", *values)
            data += bytes(-len(data) % ALIGNMENT)
    head = b"".join([b"GGUF", struct.pack("<IQQ", 3, len(infos), len(entries)), *entries, *infos])
    with open(path, "wb") as file:
        file.write(head + bytes(-len(head) % ALIGNMENT) + data)
