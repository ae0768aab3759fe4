"""Peer of the flow fit: the seed's recipe, 12 epochs, in PyTorch. Prints one JSON line."""

import argparse
import json
import time

import torch

from geometric_mix import geometric_mix
from spline_warp import fit, test_error


def net(inputs, hidden):
    layers = [torch.nn.Linear(inputs, hidden), torch.nn.Linear(hidden, hidden),
              torch.nn.Linear(hidden, inputs)]
    for layer in layers[:2]:
        torch.nn.init.kaiming_uniform_(layer.weight, a=0.2)
        torch.nn.init.zeros_(layer.bias)
    torch.nn.init.zeros_(layers[2].weight)
    torch.nn.init.zeros_(layers[2].bias)
    return torch.nn.Sequential(layers[0], torch.nn.GELU(), layers[1], torch.nn.GELU(), layers[2])


class Flow(torch.nn.Module):
    """RealNVP. Rows first inside; columns first outside, as Spline."""

    def __init__(self, dim, blocks=3, hidden=128):
        super().__init__()
        self.half = dim // 2
        self.scales = torch.nn.ModuleList(net(self.half, hidden) for _ in range(blocks))
        self.shifts = torch.nn.ModuleList(net(self.half, hidden) for _ in range(blocks))
        self.orders = [torch.randperm(dim) for _ in range(blocks)]

    def split(self, x, block):
        a, b = x[:, :self.half], x[:, self.half:]
        return (a, b) if block % 2 == 0 else (b, a)

    def join(self, kept, changed, block):
        return torch.cat((kept, changed) if block % 2 == 0 else (changed, kept), dim=1)

    def forward(self, columns):
        x = columns.T
        for block, order in enumerate(self.orders):
            kept, changed = self.split(x, block)
            s = torch.tanh(self.scales[block](kept))
            x = self.join(kept, changed * torch.exp(s) + self.shifts[block](kept), block)[:, order]
        return x.T

    def inverse(self, columns):
        x = columns.T
        for block in reversed(range(len(self.orders))):
            kept, changed = self.split(x[:, torch.argsort(self.orders[block])], block)
            s = torch.tanh(self.scales[block](kept))
            x = self.join(kept, (changed - self.shifts[block](kept)) * torch.exp(-s), block)
        return x.T


def whitening(z):
    """Detached, as in the seed: it shows in the loss and moves nothing."""
    mean, var = z.detach().mean(dim=1), z.detach().var(dim=1)
    return 1e-4 * ((mean**2).mean() + ((var - 1) ** 2).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    train, test = (torch.from_numpy(x).T.contiguous() for x in geometric_mix())
    start = time.perf_counter()
    warp = Flow(train.shape[0])
    fit(warp, train, args.epochs, lr=1e-3, clip=1.0, extra=whitening)
    ms = 1e3 * (time.perf_counter() - start)
    errors = {k: test_error(warp, train, test, k) for k in (8, 12, 16, 24, 32, 48, 64)}
    print(json.dumps({"name": "flow-fit", "ms": ms, "test_mse": errors}))


if __name__ == "__main__":
    main()
