"""LieGAN, the adversarial discovery baseline: a basis whose transformations a discriminator cannot tell from the data.

    discriminator: min  BCE(D(x, y), 1) / 2 + BCE(D(g x, rho(g) y), 0) / 2
    generator:     min  BCE(D(g x, rho(g) y), 1) + lambda_aug * similarity(x, g x) + lambda_ortho * sum_(i<j) |<Lhat_i, Lhat_j>|

with g = exp(sum_c w_c L_c), the generators L not normalised. One step of each a batch, the generator's first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy

from lib import models
from lib.draws import random_stream
from lib.experiments.checkpoint import Checkpoint, take_steps
from lib.experiments.evaluation import basis_scores
from lib.experiments.stack import TRACED_FROM
from lib.experiments.traced import Traced
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


def fit(
    task: Task,
    runs: Sequence[Run],
    progress: Callable[[int], None] | None = None,
    *,
    known: None = None,
    checkpoint: Checkpoint | None = None,
) -> list[dict[str, Any]]:
    """`discover` for each run, as `lib.experiments.training.fit` is called. Raises ValueError for a checkpoint of several runs."""
    if checkpoint is not None and len(runs) > 1:
        raise ValueError(f"a checkpoint keeps one discovery, got {len(runs)} runs")
    return [discover(task, run, progress, checkpoint) for run in runs]


def discover(task: Task, run: Run, progress: Callable[[int], None] | None = None, checkpoint: Checkpoint | None = None) -> dict[str, Any]:
    """A basis, with its scores and curves; `progress` and `checkpoint` as in `lib.experiments.training.trained`.

    There is no validation in it: the last basis is the result, as in its authors' code. Ours: images are as the task has them. In the
    authors' RotatedMNIST loop each is turned once more at every step, by an angle from N(-45, 90^2) degrees: that shows the discriminator
    the symmetry that is looked for, and angles that a scenario holds back for testing.

    Raises NonFiniteLossError where a loss becomes NaN or infinite, OutOfTimeError where the checkpoint's deadline is over.
    """
    checks, device = looks(run), task.generators.device

    def step(number: int) -> None:
        terms = game.step()
        if number in checks:
            game.look(number, terms)
        if progress:
            progress(1)

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        game = Game(task, run)
        spent = take_steps(game, run["steps"], step, checkpoint)
    found = game.found()
    return {"metrics": basis_scores(found, task), "curves": game.curves, "basis": found.tolist(), "train_s": spent}


class Game:
    """A basis against a discriminator, whose weights and dropout draw from the global stream, which it seeds.

    Source: LieGAN (Yang et al. 2023) and its published code: Adam, moments (0.5, 0.999) for the generator.
    """

    def __init__(self, task: Task, run: Run):
        self.task, self.run = task, run
        device, dtype, n, seed = task.generators.device, task.generators.dtype, task.size, run["seed"]
        mask = task.masks[run["mask"]] if "mask" in run else task.mask
        self.mask = (torch.ones(n, n) if mask is None else mask).to(device, dtype)
        self.basis = gaussian_start(run["start"], run["cardinality"], n, random_stream(seed, "basis")).to(device, dtype).requires_grad_()
        (x, y), count = task.train, len(task.train[1])
        torch.manual_seed(seed)
        self.discriminator = models.discriminator(run["model"], x, y, **run["model_options"]).to(device, dtype)
        self.fooling = torch.optim.Adam([self.basis], lr=run["lr"], betas=(0.5, 0.999), fused=True)
        self.telling = torch.optim.Adam(self.discriminator.parameters(), lr=run["lr_discriminator"], fused=True)
        traced = device.type == "cpu" and run["steps"] >= TRACED_FROM and self.discriminator.traces
        self.slopes = Traced(self.gradients) if traced else self.gradients
        self.draws, self.size = random_stream(seed, "augment", device), min(run["batch_size"], count)
        self.batches = Batches(count, self.size, random_stream(seed, "batches", device))
        self.curves: dict[str, list] = {}

    def found(self) -> Float[Tensor, "C n n"]:
        """The generators, today's, after the mask."""
        return (self.basis * self.mask).detach()

    def step(self) -> dict[str, Tensor]:
        """One step of the generator and one of the discriminator on a batch; both losses before it."""
        of = next(self.batches)
        x, y = (part[of] for part in self.task.train)
        w = coefficients(self.run, self.size, self.draws, self.basis.dtype)
        own, theirs, terms = self.slopes([self.basis.detach()], [p.detach() for p in self.discriminator.parameters()], x, y, w)
        for optimiser, found in ((self.fooling, own), (self.telling, theirs)):
            for parameter, gradient in zip(optimiser.param_groups[0]["params"], found, strict=True):
                parameter.grad = gradient.contiguous()  # fused Adam takes entries in the parameter's order, and does not ask
            optimiser.step()
        return terms

    def look(self, step: int, terms: Mapping[str, Tensor]) -> None:
        """The curves go on: both losses, and how near the basis is."""
        losses = {name: term.item() for name, term in terms.items()}
        add_point(self.curves, {"step": step, **losses, "cosine": basis_cosine(self.found(), self.task.generators)}, self.run["seed"])

    def gradients(self, basis: Sequence[Tensor], weights: Sequence[Tensor], x: Tensor, y: Tensor, w: Tensor) -> tuple:
        """Of the generator's loss by the basis, and of the discriminator's by its weights; both losses. Neither has moved for the other."""
        (basis,), weights = ([tensor.detach().requires_grad_() for tensor in tensors] for tensors in (basis, weights))
        names = [name for name, _ in self.discriminator.named_parameters()]
        logits = partial(functional_call, self.discriminator, dict(zip(names, weights, strict=True)))
        g = exp_map(w, basis * self.mask)
        gx, gy = self.task.rho_x(g, x).squeeze(1), self.task.rho_y(g, y).squeeze(1)
        fooled = generator_loss(logits((gx, gy)), x, gx, basis, self.run)
        own = torch.autograd.grad(fooled, basis)
        told = discriminator_loss(logits((x, y)), logits((gx.detach(), gy.detach())))
        terms = {"generator": fooled.detach(), "discriminator": told.detach()}
        return own, torch.autograd.grad(told, weights), terms

    def state(self) -> dict[str, Tensor]:
        """All that later steps depend on."""
        found = {"basis": self.basis.detach(), "order": self.batches.order}
        found |= {f"discriminator.{name}": tensor for name, tensor in self.discriminator.state_dict().items()}
        for name, optimiser, i, parameter in self.moved():
            found |= {f"{name}.{i}.{part}": tensor for part, tensor in optimiser.state[parameter].items()}
        return found | {name: get() for name, get, _ in self.streams()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` said."""
        with torch.no_grad():
            self.basis.copy_(state["basis"])
        self.batches.order = state["order"]
        self.discriminator.load_state_dict({name: state[f"discriminator.{name}"] for name in self.discriminator.state_dict()})
        for name, optimiser, i, parameter in self.moved():
            optimiser.state[parameter] = {part: state[f"{name}.{i}.{part}"] for part in ("step", "exp_avg", "exp_avg_sq")}
        for name, _, put in self.streams():
            put(state[name].cpu())

    def moved(self) -> Iterator[tuple[str, torch.optim.Optimizer, int, Tensor]]:
        """Name, optimiser, index and tensor of each parameter that a step moves."""
        for name, optimiser in (("fooling", self.fooling), ("telling", self.telling)):
            for i, parameter in enumerate(optimiser.param_groups[0]["params"]):
                yield name, optimiser, i, parameter

    def streams(self) -> list[tuple[str, Callable, Callable]]:
        """Name, state and restoring of all that it draws from; of the global streams, that of its device."""
        own = [("draws", self.draws), ("epochs", self.batches.draws)]
        found = [(name, stream.get_state, stream.set_state) for name, stream in own]
        found.append(("global", torch.get_rng_state, torch.set_rng_state))
        if self.basis.is_cuda:
            found.append(("global.cuda", torch.cuda.get_rng_state, torch.cuda.set_rng_state))
        return found


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
