"""What symmetry have these data, how many generators, and do the samples lie one way? For arrays, and a network and a loss of one's own.

The criterion and its threshold are those of the notebook planted_symmetry: there, on three laws with twenty seeds each, it claimed no
symmetry where there was none, and counted the generators right. Nothing is known of noisy data, nor of few.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from lib.actions import Action, on_vectors, trivially
from lib.augmenter import LieAugmenter, averaged_prediction
from lib.draws import random_stream
from lib.objective import Objective
from lib.protocol import Batches

THRESHOLD = 10.0  # ours: on seeds of their own (planted_symmetry's `calibration`) symmetries gave ratios up to 4.1, and all else from 43 on
LEARNED = 100.0  # ours: how many times the plain network's error that of the best constant must be; at least 672 in planted_symmetry
DISCOVERY = {"gamma": 1.5, "warmup": 0.3, "copies": 2, "weights": {"aug": 1.0, "ortho": 1.0, "sparse": 0.001}}  # planted_symmetry's
TEST_COPIES = 8  # group elements that the averaged predictor takes
LOOKS = 10  # at validation

Parts = Mapping[str, tuple[Tensor, Tensor]]


def split(x: Tensor, y: Tensor) -> Parts:
    """Samples and targets in three parts by a fixed shuffle: "train" has seven tenths, "val" and "test" half of the rest each.

    Raises ValueError for arrays of different lengths, of fewer than 100 samples, or with NaN or infinite values.
    """
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} samples and y {len(y)}: one target a sample")
    if len(x) < 100:
        raise ValueError(f"{len(x)} samples are too few to train, validate and test on: give 100 or more")
    for name, array in {"x": x, "y": y}.items():
        if not torch.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or infinite values: leave these samples out")
    order, train, val = torch.randperm(len(x), generator=random_stream(0, "split")), int(0.7 * len(x)), int(0.15 * len(x))
    pieces = dict(zip(("train", "val", "test"), order.split([train, val, len(x) - train - val]), strict=True))
    return {name: (x[piece], y[piece]) for name, piece in pieces.items()}


def from_graphs(graphs: Sequence[Any], vectors: Sequence[str] = ("pos",), target: str = "y") -> tuple[Tensor, Tensor]:
    """The arrays (N, k, n) and (N, ...) of a torch-geometric data set whose graphs all have the same nodes, a molecule in motion, say.

    Parameters
    ----------
    vectors : the attributes (nodes, n) that move with g, one below the other; the action is `on_stacks`.  target : what is predicted.

    Raises ValueError for graphs of several sizes, and for an attribute that one of them lacks.
    """
    for name in (*vectors, target):
        lacking = next((i for i, graph in enumerate(graphs) if getattr(graph, name, None) is None), None)
        if lacking is not None:
            raise ValueError(f"graph {lacking} has no {name!r}: it has {sorted(graphs[lacking].keys())}")
    sizes = sorted({graph.num_nodes for graph in graphs})
    if len(sizes) > 1:
        raise ValueError(f"graphs of {', '.join(map(str, sizes))} nodes are no one array: use `Objective` in your own loop, one g a graph")
    x = torch.stack([torch.cat([getattr(graph, name) for name in vectors]) for graph in graphs])
    y = torch.stack([torch.as_tensor(getattr(graph, target)) for graph in graphs])
    return x, y.reshape(len(y)) if y[0].numel() == 1 else y


@dataclass(frozen=True)
class Symmetry:
    """What was found: by number of generators C the basis and the validation error over the plain network's, r(C).

    `explained` : the error of the best constant over the plain network's. A predictor that is averaged over what is no symmetry can be as
    good as a constant at least, so that r(C) is hardly more than this; below `LEARNED` nothing is decided.
    """

    ratios: Mapping[int, float]
    bases: Mapping[int, Tensor]
    explained: float

    @property
    def decidable(self) -> bool:
        """Whether the plain network has learned enough to be compared with."""
        return self.explained >= LEARNED

    @property
    def number(self) -> int:
        """The largest C with r(C) <= 10; 0 where there is none, or nothing is decided."""
        return max((count for count, ratio in self.ratios.items() if ratio <= THRESHOLD and self.decidable), default=0)

    @property
    def basis(self) -> Tensor | None:
        """(C, n, n), or None where none is found."""
        return self.bases.get(self.number)

    def __str__(self) -> str:
        if not self.decidable:
            much = f"a constant errs only {self.explained:.3g} times as much"
            return f"not decidable: {much} as the plain network, at least {LEARNED:g} are needed; train longer, or a wider network"
        ratios = ", ".join(f"{ratio:.3g} with {count}" for count, ratio in self.ratios.items())
        found = f"{self.number} generator{'s' if self.number > 1 else ''}" if self.number else "no linear symmetry"
        return f"{found}; validation error over the plain network's: {ratios} (at most {THRESHOLD:g} for a symmetry)"


def learn(
    model: nn.Module,
    objective: Objective,
    data: Parts,
    *,
    steps: int = 3000,
    batch: int = 64,
    lr: float = 1e-3,
    progress: Callable[[int], None] | None = None,
) -> float:
    """Train the model, and the objective's augmenter, with Adam; both keep the weights with the least validation error, which is returned.

    The error is that of what the method predicts with: the average over g^-1 f(g x) where a basis is learned, else f(x).
    """
    learned = nn.ModuleList([model, *([objective.augmenter] if isinstance(objective.augmenter, nn.Module) else [])])
    optimiser = torch.optim.Adam([p for p in learned.parameters() if p.requires_grad], lr)
    (x, y), best, kept = data["train"], math.inf, copy.deepcopy(learned.state_dict())
    batches = Batches(len(x), min(batch, len(x)), random_stream(objective.seed, "batches"))
    for step in range(1, steps + 1):
        chosen = next(batches)
        loss, _ = objective(model, x[chosen], y[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % max(1, steps // LOOKS) == 0 or step == steps:
            found = error(model, objective, *data["val"])
            if found < best:
                best, kept = found, copy.deepcopy(learned.state_dict())
        if progress:
            progress(step)
    learned.load_state_dict(kept)
    return best


@torch.no_grad()
def error(model: nn.Module, objective: Objective, x: Tensor, y: Tensor) -> float:
    """The loss of what the method predicts with."""
    if objective.method.basis != "learnable":
        return objective.options["loss"](model(x), y).item()
    options = {"rho_x": objective.options["rho_x"], "rho_y": objective.options["rho_y"], "copies": TEST_COPIES}
    averaged = averaged_prediction(model, objective.augmenter, x, generator=random_stream(objective.seed, "inference"), **options)
    return objective.options["loss"](averaged, y).item()


def find_symmetry(
    data: Parts,
    network: Callable[[], nn.Module],
    loss: Callable[[Tensor, Tensor], Tensor],
    n: int,
    *,
    on_x: Action = on_vectors,
    on_y: Action = trivially,
    most: int = 3,
    mask: Float[Tensor, "n n"] | None = None,
    seed: int = 0,
    **training: int | float,
) -> Symmetry:
    """Train the plain network, and SEMoLA with 1 to `most` generators of size n, and compare their errors on validation.

    Parameters
    ----------
    network : makes an untrained network; on_x, on_y : how g acts; mask : entries that a generator may have; training : options of `learn`.

    Source: SEMoLA; the criterion is Ours (notebook planted_symmetry).
    """
    steps, ratios, bases = training.get("steps", 3000), {}, {}
    torch.manual_seed(seed)
    plain = learn(network(), Objective("standard", loss=loss, seed=seed), data, **training)
    options = {"warmup": DISCOVERY["warmup"], "copies": DISCOVERY["copies"], "steps": steps, "on_x": on_x, "on_y": on_y}
    for count in range(1, most + 1):
        torch.manual_seed(seed)
        augmenter = LieAugmenter(n, count, gamma=DISCOVERY["gamma"], mask=mask).to(data["train"][0].dtype)
        objective = Objective("semola", augmenter, loss=loss, beta=1.0, seed=seed, **options, **DISCOVERY["weights"])
        ratios[count] = learn(network(), objective, data, **training) / plain
        bases[count] = augmenter.basis().detach()
    y, known = data["val"][1], data["train"][1].to(torch.float64).mean(0).to(data["train"][1].dtype)
    return Symmetry(ratios, bases, loss(known.expand_as(y), y).item() / plain)


def told_apart(
    data: Parts,
    network: Callable[[], nn.Module],
    basis: Float[Tensor, "C n n"],
    *,
    on_x: Action = on_vectors,
    reach: float = math.pi,
    seed: int = 0,
    **training: int | float,
) -> tuple[float, float]:
    """The share of test samples of which a classifier tells whether they were moved by exp(sum_c w_c L_c), w ~ U(-reach, reach)^C, and its
    standard error: one half where the samples lie every way. `network` makes an untrained one with a single output.

    Source: Lawrence et al. (2025), "To augment or not to augment?"
    """
    augmenter = LieAugmenter(basis.shape[-1], gamma=reach, generators=basis, norm=None).to(data["train"][0].dtype)
    draws = random_stream(seed, "moved")

    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        moved = on_x(augmenter(augmenter.coefficients(len(x), 1, draws)), x).squeeze(1)
        return torch.cat([x, moved]), torch.cat([torch.zeros(len(x)), torch.ones(len(x))]).to(x.dtype)

    halves = {part: both(data[part][0]) for part in ("train", "val", "test")}
    torch.manual_seed(seed)
    model, loss = network(), lambda logits, moved: binary_cross_entropy_with_logits(logits.reshape(-1), moved)
    learn(model, Objective("standard", loss=loss, seed=seed), halves, **training)
    x, moved = halves["test"]
    with torch.no_grad():
        right = ((model(x).reshape(-1) > 0) == moved.bool()).double()
    return right.mean().item(), math.sqrt(0.25 / len(right))


def advice(symmetry: Symmetry, apart: tuple[float, float]) -> str:
    """What docs/which_way.md recommends for what was found, and for the share told apart with its standard error."""
    if not symmetry.number:
        return "no linear symmetry was found that these samples bear: train the plain network, or try a mask, more steps or a wider one"
    share, spread = apart
    if share < 0.5 + 2 * spread:
        return "the samples lie every way already: it brings a found generator and exact averages, accuracy in long trainings only"
    return "the samples lie one way: train with the generators found (augmentation or REMUL) if the network will see the other ways, too"


def in_radians(basis: Float[Tensor, "C n n"]) -> Float[Tensor, "C n n"]:
    """Generators at Frobenius norm sqrt 2, at which a rotation in a plane turns by one radian for each unit of w."""
    return basis * math.sqrt(2) / torch.linalg.matrix_norm(basis)[:, None, None]


def in_words(generator: Float[Tensor, "n n"]) -> str:
    """The largest part of a generator: turning in a plane of two coordinates, scaling or shearing; with its share of ||L||^2."""
    n, square = len(generator), generator.square().sum()
    shares = {"scaling of all": generator.trace().square() / (n * square)}
    for i in range(n):
        for j in range(i + 1, n):
            skew, symmetric = generator[i, j] - generator[j, i], generator[i, j] + generator[j, i]
            shares |= {f"rotation in the plane {i + 1}, {j + 1}": skew.square() / (2 * square)}
            shares |= {f"hyperbolic turn of {i + 1} and {j + 1}": symmetric.square() / (2 * square)}
        shares |= {f"scaling of {i + 1}": generator[i, i].square() / square}
    name = max(shares, key=lambda one: shares[one].item())
    return f"{name}, {shares[name].item():.2f}"
