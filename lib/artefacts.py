"""Every table and figure of both papers as a row: its experiment, its numbers or who draws it. `lib.report` builds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lib import ablations, dial, figures


@dataclass(frozen=True)
class Table:
    """Metrics of one table: shown name -> (key in the record, unit); keys that end in _s come from probes."""

    experiment: str
    metrics: dict[str, tuple[str, str]]
    rows: tuple[str, ...] = ()  # labels; all rows without them
    floor: str = ""  # the row whose interpolation floor is a row of its own
    discovered: bool = False  # only the rows that discover a basis
    hyperparameters: bool = False  # keys are settings, not results
    at_best_beta: bool = False  # of a model that turns beta, only the runs at the one chosen on validation


@dataclass(frozen=True)
class Drawing:
    """A figure: who draws it, from which rows."""

    experiment: str
    draw: Callable
    rows: tuple[str, ...] = ()


TIMES = {"Train time": ("train_s", "s"), "Test time": ("test_s", "s")}
TIMES_PLAIN = {"Train time": ("train_s", "s"), "Test time": ("test_s_plain", "s")}
BASIS = {
    "Cosine": ("cosine", "1"),
    "Worst cosine": ("min cosine", "1"),
    "MAE": ("mae", "1"),
    "Action score": ("action_score", "1"),
    "Worst action score": ("min action_score", "1"),
    "Closure": ("closure", "1"),
}
RESIDUAL = {**BASIS, "Residual": ("residual", "1"), "Residual, random": ("residual_random", "1")}
MSE, RAW = {"MSE": ("test_mse", "raw units²"), "E": ("E", "raw units")}, {"E'": ("E_prime", "raw units")}
UNMASKED = (
    "Augerino+_0", "MLP", "MLP + GT aug", "MLP + LieGAN_0 aug", "EMLP + GT", "EMLP + LieGAN_0", "SEMoLA_0",
)  # fmt: skip
SEVENTHS = {"E over C7": ("E", "1"), "E over SO(2)": ("E_so2", "1")}
SEVENTHS_PRIME = {"E' over C7": ("E_prime", "1"), "E' over SO(2)": ("E_prime_so2", "1")}
INSIDE = {**RESIDUAL, "Share inside the algebra": ("share_inside", "1")}
SIZES = {
    "Attention blocks": ("blocks", "1"),
    "Channels": ("channels", "1"),
    "Attention heads": ("heads", "1"),
    "Multivector channels": ("mv", "1"),
    "Parameters": ("parameters", "1"),
}
DEGREES = {"Layers": ("layers", "1"), "Degrees": ("degrees", "1")}
TRAINING = {"Training steps": ("steps", "1"), "Batch size": ("batch_size", "1"), "Learning rate": ("lr", "1")}
TABLES = {
    "semola_tab1": Table("rotated_mnist", BASIS, discovered=True),
    "semola_tab2": Table("rotated_mnist", {"Accuracy": ("test_accuracy", "%"), "E": ("E", "1")}, floor="CNN + GT aug"),
    "semola_tab3": Table("two_body", MSE, UNMASKED),
    "semola_tab5": Table("rotated_mnist", {**TIMES, "E'": ("E_prime", "1")}, floor="CNN + GT aug"),
    "semola_tab6": Table("rotated_mnist", {"Accuracy": ("test_accuracy_plain", "%"), "E": ("E_plain", "1")}, floor="CNN + GT aug"),
    "semola_tab7": Table("rotated_mnist", {**TIMES_PLAIN, "E'": ("E_prime_plain", "1")}, floor="CNN + GT aug"),
    "semola_tab8": Table("two_body", RESIDUAL, discovered=True),
    "semola_tab9": Table("two_body", MSE),
    "semola_tab10": Table("two_body", {**TIMES, **RAW}),
    "semola_tab11": Table("two_body_3", RESIDUAL, discovered=True),
    "semola_tab12": Table("two_body_3", MSE),
    "semola_tab13": Table("two_body_3", {**TIMES, **RAW}),
    "semola_tab15": Table("discrete_rotation", BASIS, discovered=True),
    "semola_tab16": Table("discrete_rotation", {"MSE": ("test_mse", "1"), **SEVENTHS}),
    "semola_tab17": Table("discrete_rotation", {**TIMES, **SEVENTHS_PRIME}),
    "semola_tab18": Table("partial_permutation", INSIDE, discovered=True),
    "semola_tab19": Table("partial_permutation", {"MSE": ("test_mse", "1"), "E": ("E", "1")}),
    "semola_tab20": Table("partial_permutation", {**TIMES, "E'": ("E_prime", "1")}),
    "remul_tab5": Table("nbody", {**SIZES, **DEGREES, **TRAINING}, ("Transformer", "SE(3)-Transformer", "GATr"), hyperparameters=True),
    "remul_tab8": Table("timing", SIZES, ("Transformer + REMUL", "GATr"), hyperparameters=True),
}
ERRORS = {"test_mse": "MSE in", "out_mse": "MSE out"}
ABLATED = ("lambda_task", "lambda_equiv", "lambda_aug", "lambda_sparse", "copies")
FIGURES = {
    "semola_fig1": Drawing("rotated_mnist", figures.method_diagram),
    "semola_fig2": Drawing("rotated_mnist", figures.bases),
    "semola_fig3": Drawing("two_body", figures.bases, ("Augerino+_0", "LieGAN_0", "SEMoLA_0", "MLP + GT aug")),
    "semola_fig5": Drawing("rotated_mnist_efficiency", ablations.against(("n_train",), ("test_accuracy",))),
    "semola_fig6": Drawing("rotated_mnist", figures.augmented_digits),
    "semola_fig7": Drawing("two_body", figures.bases, tuple(f"{m}_{k}" for k in (2, 4) for m in ("Augerino+", "LieGAN", "SEMoLA"))),
    "semola_fig8": Drawing("two_body_3", figures.bases, tuple(f"{m}_{k}" for k in (0, 2, 4) for m in ("Augerino+", "LieGAN", "SEMoLA"))),
    "semola_fig9": Drawing("two_body", figures.augmented_orbits, ("SEMoLA_0",)),
    "semola_fig10": Drawing("discrete_rotation", figures.bases),
    "semola_fig11": Drawing("partial_permutation", figures.bases),
    "semola_fig12": Drawing("rotated_mnist_ablations", ablations.against(ABLATED, ("test_accuracy",)), ("SEMoLA",)),
    "semola_fig13": Drawing("rotated_mnist_ablations", ablations.against(ABLATED, ("cosine",)), ("SEMoLA",)),
    "semola_fig14": Drawing("rotated_mnist_ablations", ablations.elements, ("SEMoLA",)),
    "planted_symmetry": Drawing("planted_symmetry", ablations.ratios),
    "remul_fig1": Drawing("loss_surface", figures.surfaces),
    "remul_fig2": Drawing("nbody", dial.against_beta({**ERRORS, "E": "E over all rotations"})),
    "remul_fig5": Drawing("timing", figures.durations),
    "remul_fig6": Drawing("nbody", dial.against_beta({"E_prime": "E' over all rotations"})),
    "remul_fig7": Drawing("nbody_samples", ablations.against(("copies",), ("test_mse", "out_mse"))),
    "sensitivity": Drawing("rotated_mnist_ablations", ablations.against(("gamma", "copies"), ("test_accuracy", "cosine")), ("SEMoLA",)),
}
