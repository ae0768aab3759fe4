"""Peer of the spline fit: the seed's recipe, 20 epochs, in PyTorch. Prints one JSON line."""

import argparse
import json
import time

import torch

from geometric_mix import geometric_mix
from spline_warp import Spline, fit, test_error


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    train, test = (torch.from_numpy(x) for x in geometric_mix())
    start = time.perf_counter()
    warp = Spline(train)
    columns = train.T.contiguous()
    fit(warp, columns, args.epochs, lr=2e-3, generator=torch.Generator().manual_seed(args.seed))
    ms = 1e3 * (time.perf_counter() - start)
    errors = {k: test_error(warp, columns, test.T.contiguous(), k) for k in (8, 12, 16, 24, 32, 48, 64)}
    print(json.dumps({"name": "spline-fit", "ms": ms, "test_mse": errors}))


if __name__ == "__main__":
    main()
