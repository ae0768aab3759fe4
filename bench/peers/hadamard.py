"""Walsh-Hadamard transform as a product with its matrix: hadamard.py BLOCKS SIZE."""

import json
import sys
import time

BLOCKS, SIZE = map(int, sys.argv[1:])


def best_ms(body):
    """Of three calls (if ten seconds allow) or as many as half a second holds, as in the program."""
    start, best, runs = time.perf_counter(), float("inf"), 0
    while runs == 0 or time.perf_counter() - start < (10 if runs < 3 else 0.5):
        begun = time.perf_counter()
        body()
        best = min(best, time.perf_counter() - begun)
        runs += 1
    return 1000 * best


def main():
    try:
        import numpy as np
    except ImportError:
        print(json.dumps({"missing": "numpy"}))
        return
    matrix = np.ones((1, 1), dtype=np.float32)
    while len(matrix) < SIZE:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]]) / np.float32(np.sqrt(2))
    x = np.random.default_rng(1).random((BLOCKS, SIZE), dtype=np.float32)
    out = np.empty_like(x)
    print(json.dumps({"peer": "numpy matmul", "ms": best_ms(lambda: np.matmul(x, matrix, out=out))}))


main()
