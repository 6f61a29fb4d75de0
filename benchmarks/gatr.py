"""GATr against the same network computed densely, and its products against another library's: all in one run.

    python -m benchmarks.gatr

Its step is timed as trainings make it, traced (gatr_step), and as it is written (gatr_step_untraced); its prediction as it is written.
Writes its rows into results/benchmarks.csv: name, size, ours_s, reference_s, ratio, device, threads.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable

import ezgatr.nn.functional as ezgatr
import torch

from benchmarks.exp_map import compared, keep
from lib.experiments.sweep import reuse_memory
from lib.experiments.traced import Traced
from lib.models.gatr import GATr
from lib.models.pga import GeometricProduct, Join
from tests.dense_gatr import densify

BATCH, TOKENS, CHANNELS = 64, 4, 16
ROUNDS = 15


def alternating(ours: Callable[[], None], reference: Callable[[], None]) -> tuple[float, float]:
    """Median seconds of both, called in turns, so that whatever else the machine does meets both."""
    times = ([], [])
    for i in range(ROUNDS + 2):
        for call, seconds in zip((ours, reference), times, strict=True):
            start = time.perf_counter()
            call()
            if i >= 2:
                seconds.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def step(network: GATr, x: torch.Tensor, y: torch.Tensor) -> None:
    """Forward and backward of the loss with its penalty."""
    network.zero_grad(set_to_none=True)
    prediction, penalty = network.with_penalty(x)
    ((prediction - y).square().mean() + penalty).backward()


class Penalised(torch.nn.Module):
    """The loss with its penalty, so that `functional_call` reaches it."""

    def __init__(self, network: GATr):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        prediction, penalty = self.network.with_penalty(x)
        return (prediction - y).square().mean() + penalty


def traced(network: GATr, x: torch.Tensor, y: torch.Tensor) -> Callable[[], object]:
    """The same step, replayed."""
    loss = Penalised(network)
    names, parameters = zip(*loss.named_parameters(), strict=True)

    def gradient(x: torch.Tensor, y: torch.Tensor, *parameters: torch.Tensor) -> tuple[torch.Tensor, ...]:
        parameters = [parameter.detach().requires_grad_() for parameter in parameters]
        found = torch.func.functional_call(loss, dict(zip(names, parameters, strict=True)), (x, y))
        return torch.autograd.grad(found, parameters)

    replayed = Traced(gradient)
    return lambda: replayed(x, y, *parameters)


def infer(network: GATr, x: torch.Tensor) -> None:
    with torch.no_grad():
        network(x)


def product(function: Callable, x: torch.Tensor, y: torch.Tensor) -> None:
    """Forward and backward of one product."""
    a, b = x.detach().requires_grad_(), y.detach().requires_grad_()
    function(a, b).square().sum().backward()


def main() -> None:
    reuse_memory()
    torch.manual_seed(0)
    x, y = torch.randn(BATCH, TOKENS, 7), torch.randn(BATCH, TOKENS, 3)
    ours = GATr(x.shape[1:], y.shape[1:])
    dense = densify(copy.deepcopy(ours))
    torch.testing.assert_close(ours(x), dense(x), rtol=1e-3, atol=1e-4)
    a, b = torch.randn(2, 16, BATCH, TOKENS, CHANNELS).unbind(0)
    last = [t.movedim(0, -1).contiguous() for t in (a, b)]  # theirs have the entries last
    cases = {
        "gatr_step": (traced(ours, x, y), lambda: step(dense, x, y)),
        "gatr_step_untraced": (lambda: step(ours, x, y), lambda: step(dense, x, y)),
        "gatr_inference": (lambda: infer(ours, x), lambda: infer(dense, x)),
    }
    for name, fast, theirs in (("product", GeometricProduct(), ezgatr.geometric_product), ("join", Join(), ezgatr.equi_join)):
        cases[f"ezgatr_{name}"] = (lambda f=fast: product(f, a, b), lambda f=theirs: product(f, *last))
    rows = []
    for name, (first, second) in cases.items():
        mine, reference = alternating(first, second)
        size = f"{BATCH}x{TOKENS} tokens" + ("" if name.startswith("ezgatr") else " 10 blocks")
        rows.append(compared(name, size, mine, reference))
    keep(rows)


if __name__ == "__main__":
    main()
