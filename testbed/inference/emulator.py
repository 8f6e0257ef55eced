"""Learn from single calls how probable an outcome is under any censor of a family.

A call in the lab either is as reported or not, and each censor is tried with few seeds. A Gaussian
process classifier (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, 3.4)
smooths these answers over neighbouring censors: it has a latent function of the inputs, a length
scale for each input, and the probability is the logistic function of the latent one, averaged over
what is not known of it. scikit-learn chooses the length scales by the marginal likelihood and a
prior of them: an input decides nothing unless calls say so, the more the more inputs there are
(Hvarfner et al., ICML 2024, arXiv 2402.02229). Without it some of twenty inputs always seem to
matter. The predictions are computed here, because a sampler asks for hundreds of thousands of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from testbed.inference.draws import Floats

_LONGEST, _SHORTEST = 100.0, 0.1
"""The bounds of the length scales; inputs are between 0 and 1, so with 100 one decides nothing."""
_SPREAD = 3**0.5
"""The standard deviation of the logarithm of a length scale, before any call (Hvarfner et al.)."""
_CHUNK = 8192
_MOST_POINTS = 400
"""Of more calls, the last ones are used: the cost grows with the third power, and later calls are
nearer to what is plausible."""


@dataclass(frozen=True)
class Emulator:
    """The probability of an outcome as a function of inputs."""

    points: Floats
    """The inputs of the calls that were made, each divided by its length scale; empty if all calls
    had the same outcome."""
    scales: Floats
    amplitude: float
    """The variance of the latent function."""
    weights: Floats
    spread: Floats
    """The matrix that reduces the variance near calls that were made."""
    constant: float
    """The probability if there are no points."""

    def __call__(self, inputs: Floats) -> Floats:
        """Return the probability for each row of inputs."""
        if not len(self.points):
            return np.full(len(inputs), self.constant)
        chunks = np.array_split(inputs, max(1, len(inputs) // _CHUNK))
        return np.concatenate([self._predict(chunk) for chunk in chunks])

    def _predict(self, inputs: Floats) -> Floats:
        scaled = inputs / self.scales
        distance = (
            (scaled**2).sum(1)[:, None] + (self.points**2).sum(1) - 2 * scaled @ self.points.T
        )
        near = self.amplitude * np.exp(-0.5 * np.maximum(distance, 0))
        mean = near @ self.weights
        variance = np.maximum(self.amplitude - ((near @ self.spread) * near).sum(1), 0)
        # MacKay's approximation of the average of the logistic function over a normal (1992).
        found: Floats = expit(mean / np.sqrt(1 + np.pi * variance / 8))
        return found


def fit(inputs: Floats, happened: NDArray[np.bool_], seed: int = 0) -> Emulator:
    """Return the emulator of calls: one row of inputs for each, and whether it was as reported."""
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - takes a second
    from sklearn.gaussian_process import GaussianProcessClassifier  # noqa: PLC0415
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel  # noqa: PLC0415

    inputs, happened = inputs[-_MOST_POINTS:], happened[-_MOST_POINTS:]
    count, width = inputs.shape
    nothing = np.zeros((0, width))
    if happened.all() or not happened.any():
        constant = (happened.sum() + 0.5) / (count + 1)  # Jeffreys' prior
        return Emulator(nothing, np.ones(width), 0.0, np.zeros(0), np.zeros((0, 0)), constant)
    kernel = ConstantKernel(4.0, (0.1, 100.0)) * RBF(np.ones(width), (_SHORTEST, _LONGEST))
    model = GaussianProcessClassifier(kernel, optimizer=_most_probable, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at its bound
        fitted = model.fit(inputs, happened).base_estimator_
    amplitude = float(fitted.kernel_.k1.constant_value)
    scales = np.broadcast_to(fitted.kernel_.k2.length_scale, (width,)).astype(float)
    root = np.linalg.solve(fitted.L_, np.diag(fitted.W_sr_))
    weights: Floats = fitted.y_train_ - fitted.pi_
    return Emulator(inputs / scales, scales, amplitude, weights, root.T @ root, 0.0)


def _most_probable(
    objective: Callable[[Floats], tuple[float, Floats]], begin: Floats, bounds: Floats
) -> tuple[Floats, float]:
    """Return the most probable amplitude and length scales, as logarithms; scikit-learn calls it.

    `objective` is minus the log marginal likelihood and its gradient.
    """
    centre = 2**0.5 + np.log(len(begin) - 1) / 2

    def penalised(theta: Floats) -> tuple[float, Floats]:
        value, gradient = objective(theta)
        away = (theta[1:] - centre) / _SPREAD
        slope = np.concatenate([[0.0], away / _SPREAD])
        return float(value + 0.5 * (away**2).sum()), gradient + slope

    found = minimize(penalised, begin, method="L-BFGS-B", jac=True, bounds=bounds)
    return found.x, float(found.fun)


def log_loss(chances: Floats, happened: NDArray[np.bool_]) -> float:
    """Return the mean of -ln of the probability that was given to what happened."""
    return float(-np.log(np.where(happened, chances, 1 - chances)).mean())
