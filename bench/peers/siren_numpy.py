#!/usr/bin/env python3
"""The sine network of the NeRF-Attention recipe, trained in double precision with NumPy.

Written from the recipe alone, as a second implementation: src/train/siren_test.cc stores what this
prints. Parameters are drawn from numpy.random.default_rng(seed), layer by layer, weights [out, in]
and then biases.

    python3 bench/peers/siren_numpy.py        the losses stored in the test
"""

import argparse
import json

import numpy as np


def initial_parameters(rng, hidden, layers, outputs, omega):
    sizes = [(1, hidden)] + [(hidden, hidden)] * layers + [(hidden, outputs)]
    parameters = []
    for index, (fan_in, fan_out) in enumerate(sizes):
        bound = 1 / fan_in if index == 0 else np.sqrt(6 / fan_in) / omega
        parameters.append(rng.uniform(-bound, bound, (fan_out, fan_in)))
        parameters.append(rng.uniform(-bound, bound, fan_out))
    return parameters


def loss_and_gradient(parameters, omega, x, y):
    inputs, cosines = [x], []
    for weights, bias in zip(parameters[:-2:2], parameters[1:-2:2]):
        z = omega * (inputs[-1] @ weights.T + bias)
        inputs.append(np.sin(z))
        cosines.append(np.cos(z))
    difference = inputs[-1] @ parameters[-2].T + parameters[-1] - y
    loss = np.mean(difference**2)
    delta = 2 / difference.size * difference
    gradient = [delta.T @ inputs[-1], delta.sum(0)]
    for layer in range(len(cosines) - 1, -1, -1):
        delta = delta @ parameters[2 * layer + 2] * cosines[layer] * omega
        gradient = [delta.T @ inputs[layer], delta.sum(0)] + gradient
    return loss, gradient


def train(y, hidden, layers, omega, epochs, rate, last_rate, seed):
    """Losses before each epoch's step, and the one after all."""
    y = (y - y.mean(0)) / np.maximum(y.std(0, ddof=1), 1e-3)
    x = np.linspace(0, 1, len(y))[:, None]
    parameters = initial_parameters(np.random.default_rng(seed), hidden, layers, y.shape[1], omega)
    means = [np.zeros_like(p) for p in parameters]
    squares = [np.zeros_like(p) for p in parameters]
    losses = []
    for epoch in range(epochs):
        loss, gradient = loss_and_gradient(parameters, omega, x, y)
        losses.append(loss)
        step = last_rate + (rate - last_rate) * (1 + np.cos(np.pi * epoch / epochs)) / 2
        for p, g, m, v in zip(parameters, gradient, means, squares):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            unbiased = m / (1 - 0.9 ** (epoch + 1)), v / (1 - 0.999 ** (epoch + 1))
            p -= step * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
    losses.append(loss_and_gradient(parameters, omega, x, y)[0])
    return losses


def test_targets(rows=40, columns=5):
    i, j = np.arange(rows)[:, None], np.arange(columns)[None, :]
    return np.sin((j + 1) * i / 7) + 0.3 * np.cos(i * i * (j + 2) / 50)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--every", type=int, default=30)
    options = parser.parse_args()
    losses = train(test_targets(), hidden=12, layers=2, omega=30, epochs=options.epochs,
                   rate=1e-3, last_rate=1e-6, seed=7)
    print(json.dumps(losses[::options.every]))


if __name__ == "__main__":
    main()
