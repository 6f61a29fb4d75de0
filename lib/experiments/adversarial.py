"""LieGAN, the adversarial discovery baseline: a basis whose transformations a discriminator cannot tell from the data.

    discriminator: min  BCE(D(x, y), 1) / 2 + BCE(D(g x, rho(g) y), 0) / 2
    generator:     min  BCE(D(g x, rho(g) y), 1) + lambda_aug * similarity(x, g x) + lambda_ortho * sum_(i<j) |<Lhat_i, Lhat_j>|

with g = exp(sum_c w_c L_c), the generators L not normalised. One step of each a batch, the generator's first.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from lib import models
from lib.draws import random_stream
from lib.experiments.evaluation import basis_scores
from lib.exponential import exp_map
from lib.groups import gaussian_start, normalised
from lib.losses import SIMILARITIES, orthogonality_penalty
from lib.metrics import basis_cosine
from lib.protocol import Batches, Run, add_point, looks
from lib.tasks import Task


def coefficients(run: Run, size: int, generator: torch.Generator, dtype: torch.dtype) -> Float[Tensor, "B 1 C"]:
    """w ~ N(0, sigma^2), or whole numbers in [-sigma, sigma). Source: LieGAN's code, coef_dist normal and uniform_int_grid."""
    shape = (size, 1, run["cardinality"])
    if run["draw"] == "integers":
        reach = int(run["sigma"])
        return torch.randint(-reach, reach, shape, generator=generator, device=generator.device).to(dtype)
    return run["sigma"] * torch.randn(shape, generator=generator, device=generator.device, dtype=dtype)


def fit(task: Task, runs: Sequence[Run], progress: Callable[[int], None] | None = None, *, known: None = None) -> list[dict[str, Any]]:
    """`discover` for each run, called and answering as `lib.experiments.training.fit` does."""
    return [discover(task, run, progress) for run in runs]


def discover(task: Task, run: Run, progress: Callable[[int], None] | None = None) -> dict[str, Any]:
    """A basis, with its scores and curves.

    There is no validation in it: the last basis is the result, as in its authors' code. Ours: images are as the task has them. In the
    authors' RotatedMNIST loop each is turned once more at every step, by an angle from N(-45, 90^2) degrees: that shows the discriminator
    the symmetry that is looked for, and angles that a scenario holds back for testing.

    Raises NonFiniteLossError where a loss becomes NaN or infinite.

    Source: LieGAN (Yang et al. 2023) and its published code: Adam, moments (0.5, 0.999) for the generator.
    """
    started = time.perf_counter()
    device, dtype, n, seed = task.generators.device, task.generators.dtype, task.size, run["seed"]
    mask = task.masks[run["mask"]] if "mask" in run else task.mask
    mask = torch.ones(n, n) if mask is None else mask
    mask = mask.to(device, dtype)
    basis = gaussian_start(run["start"], run["cardinality"], n, random_stream(seed, "basis")).to(device, dtype).requires_grad_()
    x_train, y_train = task.train
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)  # weights and dropout draw from the global stream
        discriminator = models.discriminator(run["model"], x_train, y_train, **run["model_options"]).to(device, dtype)
        generator_step = torch.optim.Adam([basis], lr=run["lr"], betas=(0.5, 0.999), fused=True)
        discriminator_step = torch.optim.Adam(discriminator.parameters(), lr=run["lr_discriminator"], fused=True)
        draws, size = random_stream(seed, "augment", device), min(run["batch_size"], len(y_train))
        chosen, checks, curves = Batches(len(y_train), size, random_stream(seed, "batches", device)), looks(run), {}
        for step, of in enumerate(itertools.islice(chosen, run["steps"]), 1):
            x, y = x_train[of], y_train[of]
            g = exp_map(coefficients(run, size, draws, dtype), basis * mask)
            gx, gy = task.rho_x(g, x).squeeze(1), task.rho_y(g, y).squeeze(1)

            fooled = generator_loss(discriminator(gx, gy), x, gx, basis, run)
            basis.grad = torch.autograd.grad(fooled, basis)[0]
            generator_step.step()

            told = discriminator_loss(discriminator(x, y), discriminator(gx.detach(), gy.detach()))
            discriminator_step.zero_grad()
            told.backward()
            discriminator_step.step()
            if step in checks:
                cosine = basis_cosine((basis * mask).detach(), task.generators)
                point = {"step": step, "generator": fooled.item(), "discriminator": told.item(), "cosine": cosine}
                add_point(curves, point, seed)
            if progress:
                progress(1)
    found = (basis * mask).detach()
    scores = basis_scores(found, task)
    return {"metrics": scores, "curves": curves, "basis": found.tolist(), "train_s": time.perf_counter() - started}


def generator_loss(fake: Float[Tensor, " B"], x: Tensor, gx: Tensor, basis: Float[Tensor, "C n n"], run: Run) -> Tensor:
    """BCE(D(g x, rho(g) y), 1) + lambda_aug * similarity + lambda_ortho * channel correlation, from the logits `fake`.

    The correlation is that of the generators before the mask. Source: LieGAN's code.
    """
    loss = cross_entropy(fake, 1.0)
    loss = loss + run["lambda_aug"] * SIMILARITIES[run["similarity"]](x, gx.unsqueeze(1))
    return loss + run["lambda_ortho"] * orthogonality_penalty(normalised(basis))


def discriminator_loss(real: Float[Tensor, " B"], fake: Float[Tensor, " B"]) -> Tensor:
    """(BCE(D(x, y), 1) + BCE(D(g x, rho(g) y), 0)) / 2, from the logits."""
    return (cross_entropy(real, 1.0) + cross_entropy(fake, 0.0)) / 2


def cross_entropy(logits: Float[Tensor, " B"], target: float) -> Tensor:
    """BCE(sigmoid(logits), target), NaN where a logit is; it saturates, as in LieGAN's code, where BCE from logits would not."""
    p = logits.sigmoid()
    return torch.where(p.isnan().any(), p.sum(), binary_cross_entropy(p.nan_to_num(0.5), torch.full_like(p, target)))
