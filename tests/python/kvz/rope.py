"""Rotary embedding (docs/extract.md, "Metadata of the model")."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Rope:
    halves: bool = False
    frequency: np.ndarray = field(default_factory=lambda: np.zeros(0))
    magnitude: float = 1.0
    first: int = 0  # dimension of a head at which the pairs begin

    def turn(self, rows, dim, positions, back=False):
        """Heads of `dim` columns by their positions, or back."""
        n = len(self.frequency)
        if n == 0:
            return rows
        heads = rows.reshape(len(rows), -1, dim).astype(np.float64)
        out = heads[..., self.first:]
        first, second = ((slice(0, n), slice(n, 2 * n)) if self.halves else
                         (slice(0, 2 * n, 2), slice(1, 2 * n, 2)))
        angle = positions[:, None, None] * self.frequency * (-1 if back else 1)
        factor = 1 / self.magnitude if back else self.magnitude
        cosine, sine = factor * np.cos(angle), factor * np.sin(angle)
        a, b = out[..., first].copy(), out[..., second].copy()
        out[..., first], out[..., second] = a * cosine - b * sine, a * sine + b * cosine
        return heads.reshape(rows.shape)
