"""The KVSplice seed's warps in PyTorch, written from the recipe: warps.py WHAT [EPOCHS].

WHAT: spline-fit, spline-inverse or flow-fit, on GeometricMix (4500 x 128).
"""

import json
import sys
import time

try:
    import numpy as np
    import torch
    import torch.nn.functional as F
except ImportError as error:
    print(json.dumps({"missing": error.name}))
    sys.exit(0)


def geometric_mix(rows=6000, dim=128, noise=0.03, seed=13):
    """The first 75 % of the rows, and the rest, float32."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(0, 1, rows)
    turn = 2 * np.pi * t
    atoms = np.stack([np.ones(rows), t, t**2, t * (t + 1) / 2, np.sqrt(np.clip(t, 1e-6, 1)),
                      np.sin(turn), np.cos(turn)], axis=1)
    weights = rng.normal(size=(7, 48))
    weights *= rng.uniform(size=weights.shape) < 0.6
    pre = atoms @ weights
    pre = np.concatenate([pre, np.tanh(pre), 1 / (1 + np.exp(-pre))], axis=1)
    basis, _ = np.linalg.qr(rng.normal(size=(pre.shape[1], dim)))
    x = pre @ basis
    x = x / (x.std(axis=0) + 1e-6)
    x = (x + rng.normal(0, noise, x.shape)).astype(np.float32)
    return x[: rows * 3 // 4], x[rows * 3 // 4:]


class Spline(torch.nn.Module):
    """Columns first: x is [dim, rows]."""

    def __init__(self, rows, knots=7):
        super().__init__()
        n, dim = rows.shape
        at = torch.floor(torch.linspace(0, 1, knots) * (n - 1)).long()
        self.register_buffer("xk", rows.sort(dim=0).values[at].T.contiguous())
        self.raw = torch.nn.Parameter(torch.zeros(dim, knots - 1))
        self.scale_raw = torch.nn.Parameter(torch.zeros(dim, 1))
        self.shift = torch.nn.Parameter(torch.zeros(dim, 1))

    def tables(self):
        dx = self.xk[:, 1:] - self.xk[:, :-1]
        u = F.softplus(self.raw) + 1e-4
        mean = (u * dx).sum(1, keepdim=True) / dx.sum(1, keepdim=True)
        slopes = u / (mean + 1e-8)
        yk = F.pad(torch.cumsum(slopes * dx, dim=1), (1, 0))
        return slopes, yk, F.softplus(self.scale_raw) + 1e-3

    @staticmethod
    def segment(knots, v):
        return torch.searchsorted(knots, v).clamp(1, knots.shape[1] - 1) - 1

    def forward(self, x):
        slopes, yk, scale = self.tables()
        i = self.segment(self.xk, x)
        y = yk.gather(1, i) + slopes.gather(1, i) * (x - self.xk.gather(1, i))
        return y * scale + self.shift

    def inverse(self, z):
        slopes, yk, scale = self.tables()
        y = (z - self.shift) / scale
        i = self.segment(yk.detach().contiguous(), y.detach().contiguous())
        return self.xk.gather(1, i) + (y - yk.gather(1, i)) / (slopes.gather(1, i) + 1e-8)


def pca(z, rank):
    """Mean [dim, 1] and basis [dim, rank] of z [dim, rows]."""
    mean = z.mean(dim=1, keepdim=True)
    _, vectors = torch.linalg.eigh((z - mean) @ (z - mean).T)
    return mean, vectors[:, -rank:]


def test_error(warp, train, test, rank):
    with torch.no_grad():
        mean, basis = pca(warp(train), rank)
        z = warp(test)
        back = warp.inverse(mean + basis @ (basis.T @ (z - mean)))
        return ((back - test) ** 2).mean().item()


def fit(warp, train, epochs, lr, rank=16, batch=256, clip=None, extra=None, generator=None):
    """The seed's loop: PCA of the warped rows at each epoch's start, AdamW on MSE through it."""
    n = train.shape[1]
    optimiser = torch.optim.AdamW(warp.parameters(), lr=lr, weight_decay=1e-4)
    for _ in range(epochs):
        with torch.no_grad():
            mean, basis = pca(warp(train), rank)
        order = torch.randperm(n, generator=generator)
        for first in range(0, n - batch + 1, batch):
            x = train[:, order[first:first + batch]]
            z = warp(x)
            back = warp.inverse(mean + basis @ (basis.T @ (z - mean)))
            loss = ((back - x) ** 2).mean()
            if extra is not None:
                loss = loss + extra(z)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(warp.parameters(), clip)
            optimiser.step()


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


RANKS = (8, 12, 16, 24, 32, 48, 64)


def timed_fit(peer, make, train, test, **options):
    """Time of one training, and the test errors that show it is the same work."""
    start = time.perf_counter()
    warp = make()
    fit(warp, train, **options)
    ms = 1e3 * (time.perf_counter() - start)
    errors = {k: test_error(warp, train, test, k) for k in RANKS}
    print(json.dumps({"peer": peer, "ms": ms, "test_mse": errors}))


def spline_fit(train, test, epochs):
    timed_fit("torch", lambda: Spline(train.T), train, test, epochs=epochs, lr=2e-3)


def flow_fit(train, test, epochs):
    timed_fit("torch", lambda: Flow(train.shape[0]), train, test, epochs=epochs, lr=1e-3, clip=1.0,
              extra=whitening)


def spline_inverse(train, _test, _epochs):
    warp = Spline(train.T)
    with torch.no_grad():
        z = warp(train)
        best = float("inf")
        for _ in range(30):
            start = time.perf_counter()
            warp.inverse(z)
            best = min(best, 1e3 * (time.perf_counter() - start))
    print(json.dumps({"peer": "torch", "ms": best}))


def main():
    what, epochs = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20
    torch.manual_seed(0)
    train, test = (torch.from_numpy(x).T.contiguous() for x in geometric_mix())
    {"spline-fit": spline_fit, "spline-inverse": spline_inverse, "flow-fit": flow_fit}[what](
        train, test, epochs)


main()
