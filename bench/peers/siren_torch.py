#!/usr/bin/env python3
"""The sine network of the NeRF-Attention recipe in PyTorch, as one writes it there: medium, full batch.

    siren_torch.py ROWS COLUMNS EPOCHS [SEEDS]

Prints, for each seed, the time of an epoch and the final loss. Rows are those of bench/waves.h.
"""

import json
import math
import sys
import time

ROWS, COLUMNS, EPOCHS = map(int, sys.argv[1:4])
SEEDS = int(sys.argv[4]) if len(sys.argv) > 4 else 1
HIDDEN, LAYERS, OMEGA = 256, 2, 30.0


def waves(np):
    rng = np.random.default_rng(0)
    t = np.linspace(0, 1, ROWS)
    x = np.empty((ROWS, COLUMNS), np.float32)
    for c in range(COLUMNS):
        f1, f2, f3 = rng.uniform(1, 5), rng.uniform(3, 10), rng.uniform(10, 30)
        phase = rng.uniform(0, 2 * np.pi)
        x[:, c] = (0.5 * np.sin(2 * np.pi * f1 * t) + 0.3 * np.cos(2 * np.pi * f2 * t)
                   + 0.2 * np.sin(2 * np.pi * f3 * t + phase) + 0.1 * rng.normal(size=ROWS))
    return x


def build(torch):
    nn = torch.nn

    class Sine(nn.Module):
        def __init__(self, fan_in, fan_out, bound):
            super().__init__()
            self.linear = linear(fan_in, fan_out, bound)

        def forward(self, x):
            return torch.sin(OMEGA * self.linear(x))

    def linear(fan_in, fan_out, bound):
        layer = nn.Linear(fan_in, fan_out)
        nn.init.uniform_(layer.weight, -bound, bound)
        nn.init.uniform_(layer.bias, -bound, bound)
        return layer

    inner = math.sqrt(6 / HIDDEN) / OMEGA
    layers = [Sine(1, HIDDEN, 1.0)] + [Sine(HIDDEN, HIDDEN, inner) for _ in range(LAYERS)]
    return nn.Sequential(*layers, linear(HIDDEN, COLUMNS, inner))


def train(torch, y, seed):
    torch.manual_seed(seed)
    y = (y - y.mean(0)) / y.std(0).clamp(min=1e-3)
    x = torch.linspace(0, 1, ROWS)[:, None]
    net = build(torch)
    adam = torch.optim.Adam(net.parameters(), lr=1e-4)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=EPOCHS, eta_min=1e-6)
    best = float("inf")
    for _ in range(EPOCHS):
        begun = time.perf_counter()
        adam.zero_grad()
        loss = torch.nn.functional.mse_loss(net(x), y)
        loss.backward()
        adam.step()
        cosine.step()
        best = min(best, time.perf_counter() - begun)
    with torch.no_grad():
        return best, torch.nn.functional.mse_loss(net(x), y).item()


def main():
    try:
        import numpy as np
        import torch
    except ImportError as missing:
        print(json.dumps({"missing": missing.name}))
        return
    y = torch.from_numpy(waves(np))
    for seed in range(SEEDS):
        best, loss = train(torch, y, seed)
        name = f"torch {torch.__version__}, {torch.get_num_threads()} threads; seed {seed}, loss {loss:.4f}"
        print(json.dumps({"peer": name, "ms": 1000 * best}), flush=True)


main()
