"""The seed's monotone spline in PyTorch: one searchsorted and gathers for all columns."""

import torch
import torch.nn.functional as F


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
