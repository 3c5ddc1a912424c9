#!/usr/bin/env python3
"""Fits the polynomial of GELU in src/kernels/math-inl.h and prints its error. Needs numpy.

erfc(x / sqrt 2) = exp(-p(x)) on [0, 6]. What counts is the absolute error of GELU, x/2 exp(-p) dp, so
that is the weight of the fit; a few rounds of reweighting (Lawson) bring it near to minimax. The
last column of each line is what f32 arithmetic leaves of it.
"""
from math import erfc, sqrt

import numpy as np

RANGE = 6.0


def fit(degree, x, weight, target):
    """Coefficients c1..cn of p(x) = c1 x + ... + cn x^n, nearly minimax under `weight`."""
    powers = np.vander(x, degree + 1, increasing=True)[:, 1:]
    w = weight.copy()
    for _ in range(60):
        coefficients, *_ = np.linalg.lstsq(powers * w[:, None], target * w, rcond=None)
        residual = np.abs((powers @ coefficients - target) * weight)
        w = w * np.sqrt(residual / residual.max() + 1e-3)
        w /= w.max()
    return coefficients, residual.max()


def f32_error(coefficients):
    """Largest |GELU - exact| on the negative side when p and exp are computed in f32."""
    x = np.linspace(0, 8, 200001).astype(np.float32)
    clamped = np.minimum(x, np.float32(RANGE))
    p = np.zeros_like(x)
    for c in coefficients.astype(np.float32)[::-1]:
        p = p * clamped + c
    got = np.float32(0.5) * clamped * np.exp(-(p * clamped))
    exact = np.array([0.5 * float(v) * erfc(float(v) / sqrt(2)) for v in x])
    return np.abs(got - exact).max()


def main():
    x = RANGE / 2 * (1 - np.cos(np.linspace(0, np.pi, 4001)))  # Chebyshev points
    e = np.array([erfc(v / sqrt(2)) for v in x])
    for degree in (7, 8, 9, 10):
        coefficients, error = fit(degree, x, e * np.maximum(x, 0.05), -np.log(e))
        print(degree, f"{error:.2e} exact, {f32_error(coefficients):.2e} in f32")
        print("  ", [float(np.float32(c)) for c in coefficients])


if __name__ == "__main__":
    main()
