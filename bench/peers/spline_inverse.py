"""Peer of the spline's inverse on 4500 x 128 values, in PyTorch. Prints one JSON line."""

import json
import time

import torch

from geometric_mix import geometric_mix
from spline_warp import Spline


def main():
    rows = torch.from_numpy(geometric_mix()[0])
    warp = Spline(rows)
    with torch.no_grad():
        z = warp(rows.T.contiguous())
        best = float("inf")
        for _ in range(30):
            start = time.perf_counter()
            warp.inverse(z)
            best = min(best, 1e3 * (time.perf_counter() - start))
    print(json.dumps({"name": "spline-inverse", "ms": best}))


if __name__ == "__main__":
    main()
