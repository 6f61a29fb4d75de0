"""The exponential map against torch's: forward, product with a vector and backward, both in one run.

    python benchmarks/exp_map.py

Writes its rows into results/benchmarks.csv: name, size, ours_s, reference_s, ratio, device, threads.
"""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import torch
from torch.utils.benchmark import Timer

from lib.augmenter import LieAugmenter
from lib.experiments.store import machine

FILE = Path(__file__).parents[1] / "results" / "benchmarks.csv"
SIZES = [(8, 512, 16), (24, 64, 16), (3, 64, 16)]  # matrix size, batch, augmentations a sample
GAMMAS = {"1": 1.0, "pi": math.pi}
SECONDS = 4.0  # of timing for each side of a ratio


def step(exponential, augmenter: LieAugmenter, w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """One augmentation of a batch, and the gradient of a scalar of it with respect to the generators."""
    augmenter.zero_grad()
    moved = exponential(w) @ x
    moved.square().sum().backward()
    return augmenter.raw.grad


def compare(n: int, batch: int, copies: int, gamma: float, cardinality: int) -> tuple[float, float]:
    """Median seconds of ours and of `torch.linalg.matrix_exp`, after a check that both give the same gradient."""
    generator = torch.Generator().manual_seed(0)
    augmenter = LieAugmenter(n, cardinality, gamma=gamma)
    with torch.no_grad():
        augmenter.raw.normal_(generator=generator)
    w, x = augmenter.coefficients(batch, copies, generator), torch.randn(batch, 1, n, 1, generator=generator)

    def reference(w):
        return torch.linalg.matrix_exp(torch.einsum("bkc,cij->bkij", w, augmenter.basis()))

    ours, theirs = (step(f, augmenter, w, x).clone() for f in (augmenter, reference))
    torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-3 * theirs.abs().max().item())
    timed = []
    for exponential in (augmenter, reference):
        scope = {"step": step, "exponential": exponential, "augmenter": augmenter, "w": w, "x": x}
        timer = Timer("step(exponential, augmenter, w, x)", globals=scope, num_threads=torch.get_num_threads())
        timed.append(timer.blocked_autorange(min_run_time=SECONDS).median)
    return timed[0], timed[1]


def compared(name: str, size: str, ours: float, reference: float) -> dict:
    """A row of seconds of both sides, printed, too."""
    print(f"{name} {size:50s} ours {1e3 * ours:8.2f} ms   reference {1e3 * reference:8.2f} ms   ratio {reference / ours:5.2f}", flush=True)
    row = {"name": name, "size": size, "ours_s": ours, "reference_s": reference, "ratio": reference / ours}
    return {**row, "device": machine("cpu"), "threads": torch.get_num_threads()}


def keep(rows: list[dict]) -> None:
    """Write the rows in the place of those of the same names."""
    frame = pd.DataFrame(rows)
    if FILE.is_file():
        others = pd.read_csv(FILE)
        frame = pd.concat([others[~others["name"].isin(frame["name"])], frame])
    frame.to_csv(FILE, index=False, float_format="%.4g", lineterminator="\n")


def main() -> None:
    rows = []
    for n, batch, copies in SIZES:
        for label, gamma in GAMMAS.items():
            for cardinality in (1, 3):
                ours, reference = compare(n, batch, copies, gamma, cardinality)
                rows.append(compared("exp_map", f"n={n} {batch}x{copies} gamma={label} C={cardinality}", ours, reference))
    keep(rows)


if __name__ == "__main__":
    main()
