"""GeometricMix as the KVSplice seed draws it (src/train/geometric_mix.h), with NumPy."""

import numpy as np


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
