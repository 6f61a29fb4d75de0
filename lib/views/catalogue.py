"""Every table and figure of both papers as a row: its experiment, its numbers or who draws it. `lib.views.tables` builds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lib.experiments.values import parameters_of
from lib.views.figures import (
    ablations,
    against_beta,
    algebras,
    bases,
    bounded,
    chemistry,
    dial,
    drawbacks,
    durations,
    generators,
    growth,
    oriented,
    perturbed,
    planted,
)  # fmt: skip
from lib.views.ways import blocks_of, seen_by


@dataclass(frozen=True)
class Table:
    """Metrics of one table: shown name -> (key in the record, unit); keys that end in _s come from probes."""

    experiment: str
    metrics: dict[str, tuple[str, str]]
    rows: tuple[str, ...] = ()  # labels; all rows without them
    floor: str = ""  # the row whose interpolation floor is a row of its own
    discovered: bool = False  # only the rows that discover a basis
    hyperparameters: bool = False  # keys are settings, not results
    one_beta: bool = False  # of a model that turns beta, only the runs at the one chosen on validation
    profile: str = ""  # the committed records of this one, whichever is asked for
    published: str = ""  # the table whose published values stand beside ours, where it is another


@dataclass(frozen=True)
class Drawing:
    """A figure: who draws it, from which rows."""

    experiment: str
    draw: Callable
    rows: tuple[str, ...] = ()
    profile: str = ""  # the committed records of this one, whichever is asked for
    measured: str = ""  # the file of results/ that it shows in the place of records, whichever profile is asked for


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
OF_MLPS = {"Hidden dim": ("channels", "1"), "Layers": ("blocks", "1"), "Parameters": ("parameters", "1")}
LAYERED = {"Layers": ("layers", "1"), "Hidden dim": ("channels", "1"), "Parameters": ("parameters", "1")}
TRAINING = {"Training steps": ("steps", "1"), "Batch size": ("batch_size", "1"), "Learning rate": ("lr", "1")}
EPOCHS = {"Epochs": ("epochs", "1"), **TRAINING}
IN_RAW_UNITS = {**MSE, **RAW}
VERTICAL = {"E about the vertical": ("E_vertical", "raw units"), "E' about the vertical": ("E_prime_vertical", "raw units")}
MOLECULAR = {"MSE": ("test_mse", "Å²"), "E": ("E", "Å"), "E'": ("E_prime", "Å")}
TRANSFORMERS = ("SE(3)-Transformer", "GATr", "Transformer", "Transformer + aug", "REMUL")
PERCEPTRONS = ("EMLP", "RPP", "PER", "MLP", "MLP + aug", "MLP + REMUL")
GRAPH_NETWORKS = ("EGNN", "GNN", "GNN + aug", "REMUL")
OWN_UNITS = "m/s, or 1 if simulated"
FLOWS = {"Future": ("test_rmse", OWN_UNITS), "Domain": ("domain_rmse", OWN_UNITS), "E'": ("E_prime", OWN_UNITS)}
ANGLES = {
    "Mean angle": ("mean_angle", "degrees"),
    "Largest angle": ("largest_angle", "degrees"),
    "Found in se(3)": ("found_in_true", "1"),
    "se(3) in found": ("true_in_found", "1"),
    "Closure": ("closure", "1"),
}
TABLES = {
    "semola_tab1": Table("rotated_mnist", BASIS, discovered=True),
    "semola_tab2": Table("rotated_mnist", {"Accuracy": ("test_accuracy", "%"), "E": ("E", "1")}, floor="CNN + GT aug"),
    "semola_tab1_fashion": Table("rotated_mnist", BASIS, discovered=True, profile="fashion"),
    "semola_tab2_fashion": Table("rotated_mnist", {"Accuracy": ("test_accuracy", "%"), "E": ("E", "1")}, profile="fashion"),
    "semola_tab3": Table("two_body", MSE, UNMASKED),
    "semola_tab4": Table("qm9", {"MAE": ("test_mae", "meV"), "E": ("E", "eV")}),
    "semola_tab4_few": Table("qm9", {"MAE": ("test_mae", "meV"), "Mean angle": ("mean_angle", "degrees")}, profile="few"),
    "semola_tab5": Table("rotated_mnist", {**TIMES, "E'": ("E_prime", "1")}, floor="CNN + GT aug"),
    "semola_tab6": Table("rotated_mnist", {"Accuracy": ("test_accuracy_plain", "%"), "E": ("E_plain", "1")}, floor="CNN + GT aug"),
    "semola_tab7": Table("rotated_mnist", {**TIMES_PLAIN, "E'": ("E_prime_plain", "1")}, floor="CNN + GT aug"),
    "semola_tab8": Table("two_body", RESIDUAL, discovered=True),
    "semola_tab9": Table("two_body", MSE),
    "semola_tab10": Table("two_body", {**TIMES, **RAW}),
    "semola_tab11": Table("two_body_3", RESIDUAL, discovered=True),
    "semola_tab12": Table("two_body_3", MSE),
    "semola_tab13": Table("two_body_3", {**TIMES, **RAW}),
    "semola_tab14": Table("qm9", {**TIMES, "E'": ("E_prime", "eV")}),
    "qm9_angles": Table("qm9", ANGLES, discovered=True),
    "semola_tab15": Table("discrete_rotation", BASIS, discovered=True),
    "semola_tab16": Table("discrete_rotation", {"MSE": ("test_mse", "1"), **SEVENTHS}),
    "semola_tab17": Table("discrete_rotation", {**TIMES, **SEVENTHS_PRIME}),
    "semola_tab18": Table("partial_permutation", INSIDE, discovered=True),
    "semola_tab19": Table("partial_permutation", {"MSE": ("test_mse", "1"), "E": ("E", "1")}),
    "semola_tab20": Table("partial_permutation", {**TIMES, "E'": ("E_prime", "1")}),
    "remul_tab1": Table("mocap", {**IN_RAW_UNITS, **VERTICAL}, TRANSFORMERS, one_beta=True),
    "remul_tab1_mlp": Table("mocap_mlp", {**IN_RAW_UNITS, **VERTICAL}, PERCEPTRONS, one_beta=True),
    "remul_tab1_long": Table("mocap", IN_RAW_UNITS, TRANSFORMERS, one_beta=True, profile="long", published="remul_tab1"),
    "remul_tab1_wide": Table("mocap", IN_RAW_UNITS, TRANSFORMERS, one_beta=True, profile="wide", published="remul_tab1"),
    "remul_tab1_mlp_recorded": Table("mocap_mlp", MSE, PERCEPTRONS[3:], one_beta=True, profile="recorded", published="remul_tab1_mlp"),
    "remul_tab1_assignments": Table("mocap", MSE, TRANSFORMERS, one_beta=True, profile="assignments", published="remul_tab1"),
    "remul_tab1_inferred": Table("mocap", IN_RAW_UNITS, TRANSFORMERS, one_beta=True, profile="inferred", published="remul_tab1"),
    "remul_tab1_assignments_wide": Table("mocap", MSE, TRANSFORMERS, one_beta=True, profile="assignments_wide", published="remul_tab1"),
    "remul_tab1_assignments_long": Table("mocap", MSE, TRANSFORMERS, one_beta=True, profile="assignments_long", published="remul_tab1"),
    "remul_tab1_gradual": Table("mocap", IN_RAW_UNITS, one_beta=True, profile="gradual"),
    "remul_tab2": Table("md17", MOLECULAR, GRAPH_NETWORKS, one_beta=True),
    "remul_tab2_gradual": Table("md17", MOLECULAR, one_beta=True, profile="gradual"),
    "remul_tab3": Table("flow", FLOWS, one_beta=True),
    "remul_tab4": Table("flow", {**LAYERED, **EPOCHS}, ("CNN", "RSteer", "E2CNN"), hyperparameters=True),
    "remul_tab5": Table("nbody", {**SIZES, **DEGREES, **TRAINING}, ("Transformer", "SE(3)-Transformer", "GATr"), hyperparameters=True),
    "remul_tab6": Table("mocap", {**SIZES, **DEGREES, **EPOCHS}, ("Transformer", "SE(3)-Transformer", "GATr"), hyperparameters=True),
    "remul_tab6_mlp": Table("mocap_mlp", {**OF_MLPS, **EPOCHS}, ("EMLP", "RPP", "PER", "MLP"), hyperparameters=True),
    "remul_tab7": Table("md17", {**LAYERED, **EPOCHS}, ("EGNN", "GNN"), hyperparameters=True),
    "remul_tab8": Table("timing", SIZES, ("Transformer + REMUL", "GATr"), hyperparameters=True),
    "md17_times": Table("md17", TIMES, GRAPH_NETWORKS),
}
ERRORS = {"test_mse": "MSE in", "out_mse": "MSE out"}
ABLATED = ("lambda_task", "lambda_equiv", "lambda_aug", "lambda_sparse", "copies")
IN_UNITS = {"test_mse": "MSE (raw units²)", "E": "E over all rotations\n(raw units)", "E_vertical": "E about the vertical\n(raw units)"}
IN_UNITS_PRIME = {"E_prime": "E' over all rotations\n(raw units)", "E_prime_vertical": "E' about the vertical\n(raw units)"}
IN_ANGSTROM, IN_ANGSTROM_PRIME = {"test_mse": "MSE (Å²)", "E": "E (Å)"}, {"E_prime": "E' (Å)"}
IN_FIGURE_4 = ("aspirin", "ethanol", "malonaldehyde", "uracil")
IN_FIGURE_9 = ("benzene", "naphthalene", "salicylic", "toluene")
WORST, COPIES = "worst ‖f(gx) − ρ(g)f(x)‖ found\n(raw units)", "copies of each sample, made once"
LIKEWISE = {"test_mse_plain": "MSE, samples as in training\n(raw units²)"}
TURNED, PRIME = {"out_mse_plain": "MSE, turned by 90° to 180°\n(raw units²)"}, {"E_prime_plain": "E' (raw units)"}
BELOW = {"val_mse_plain": "MSE on validation, samples\nas in training (raw units²)"}
ABOVE, SPENT = {"test_mse_plain": "MSE, the other half plane\n(raw units²)"}, {"spent_s": "seconds of training\n(beside other work)"}
BY_GROUP = {"test_mse_plain": "MSE, moved as far as\nin training (raw units²)"}
MOVED = {**BY_GROUP, "test_worst": WORST, "far_mse_plain": "MSE, moved up to ten times\nas far (raw units²)"}
FIGURES = {
    "semola_fig1": Drawing("rotated_mnist", bases.method_diagram),
    "semola_fig2": Drawing("rotated_mnist", bases.bases, ("Augerino+", "LieGAN (8 filters)", "CNN + GT aug", "SEMoLA")),
    "semola_fig3": Drawing("two_body", bases.bases, ("Augerino+_0", "LieGAN_0", "SEMoLA_0", "MLP + GT aug")),
    "semola_fig4": Drawing("qm9", algebras.algebras),
    "semola_fig5": Drawing("rotated_mnist_efficiency", ablations.against(("n_train",), ("test_accuracy",))),
    "semola_fig6": Drawing("rotated_mnist", bases.augmented_digits),
    "semola_fig7": Drawing("two_body", bases.bases, tuple(f"{m}_{k}" for k in (2, 4) for m in ("Augerino+", "LieGAN", "SEMoLA"))),
    "semola_fig8": Drawing("two_body_3", bases.bases, tuple(f"{m}_{k}" for k in (0, 2, 4) for m in ("Augerino+", "LieGAN", "SEMoLA"))),
    "semola_fig9": Drawing("two_body", bases.augmented_orbits, ("SEMoLA_0",)),
    "semola_fig10": Drawing("discrete_rotation", bases.bases),
    "semola_fig11": Drawing("partial_permutation", bases.bases),
    "semola_fig12": Drawing("rotated_mnist_ablations", ablations.against(ABLATED, ("test_accuracy",)), ("SEMoLA",)),
    "semola_fig13": Drawing("rotated_mnist_ablations", ablations.against(ABLATED, ("cosine",)), ("SEMoLA",)),
    "semola_fig14": Drawing("rotated_mnist_ablations", ablations.elements, ("SEMoLA",)),
    "perturbed": Drawing("two_body", perturbed.perturbed, profile="perturbed"),
    "perturbed_trimmed": Drawing("two_body", perturbed.perturbed, profile="perturbed_trimmed"),
    "perturbed_samples": Drawing("two_body", perturbed.perturbed, profile="perturbed_samples"),
    "planted_symmetry": Drawing("planted_symmetry", planted.ratios),
    "remul_fig1": Drawing("loss_surface", bases.surfaces),
    "remul_fig2": Drawing("nbody", against_beta.against_beta({**ERRORS, "E": "E over all rotations"})),
    "remul_fig3": Drawing("mocap", against_beta.across_scenarios(IN_UNITS)),
    "equivariance_of_draws": Drawing("mocap_mlp", ablations.against(("error_draws",), ("E", "E_prime"), "\n(raw units)"), profile="draws"),
    "remul_fig4": Drawing("md17", against_beta.across_scenarios(IN_ANGSTROM, IN_FIGURE_4)),
    "remul_fig5": Drawing("timing", durations.durations),
    "scaling": Drawing("timing", growth.growth, measured="growth.csv"),
    "remul_fig6": Drawing("nbody", against_beta.against_beta({"E_prime": "E' over all rotations"})),
    "remul_fig7": Drawing("nbody_samples", ablations.against(("copies",), ("test_mse", "out_mse"))),
    "remul_fig8": Drawing("mocap", against_beta.across_scenarios(IN_UNITS_PRIME)),
    "remul_fig9": Drawing("md17", against_beta.across_scenarios(IN_ANGSTROM, IN_FIGURE_9)),
    "remul_fig10": Drawing("md17", against_beta.across_scenarios(IN_ANGSTROM_PRIME, (*IN_FIGURE_4, *IN_FIGURE_9))),
    "remul_fig11": Drawing("md17", chemistry.molecules),
    "flow_dial": Drawing("flow_dial", dial.dial),
    "oriented": Drawing("orientation", oriented.oriented),
    "bounded_bodies": Drawing("bounded_bodies", bounded.bounded),
    "bounded_motion": Drawing("bounded_motion", bounded.bounded),
    "bounded_orbits": Drawing("bounded_orbits", bounded.bounded),
    "capacity_bodies": Drawing("capacity_bodies", drawbacks.against(parameters_of, "parameters", {**LIKEWISE, **TURNED, **SPENT})),
    "capacity_orbits": Drawing("capacity_orbits", drawbacks.against(parameters_of, "parameters", {**BELOW, **ABOVE, **SPENT})),
    "coverage_bodies": Drawing("coverage_bodies", drawbacks.against(seen_by, COPIES, {**LIKEWISE, **TURNED, "out_worst": WORST})),
    "coverage_pulls": Drawing("coverage_pulls", drawbacks.against(seen_by, COPIES, MOVED)),
    "depth_bodies": Drawing("depth_bodies", drawbacks.against(blocks_of, "blocks", {**TURNED, **PRIME, "out_worst": WORST})),
    "depth_pulls": Drawing("depth_pulls", drawbacks.against(blocks_of, "blocks", {**BY_GROUP, **PRIME, "test_worst": WORST})),
    "depth_layers": Drawing("depth_pulls", drawbacks.layers),
    "robust_bodies": Drawing("capacity_bodies", drawbacks.robust({"test": "turned by 10° at most", "out": "turned by 90° to 180°"})),
    "robust_orbits": Drawing("capacity_orbits", drawbacks.robust({"val": "lower half plane, as in training", "test": "upper half plane"})),
    "mocap_generators": Drawing("mocap_discovery", generators.generators),
    "md17_generators": Drawing("md17_discovery", generators.generators),
    "md17_timing": Drawing("md17", durations.by_scenario, GRAPH_NETWORKS),
    "equivariance_of_weights": Drawing("rotated_mnist_ablations", ablations.against(("lambda_task", "lambda_equiv"), ("E",)), ("SEMoLA",)),
    "starts": Drawing("rotated_mnist_ablations", ablations.sooner, profile="starts"),
    "sensitivity": Drawing("rotated_mnist_ablations", ablations.against(("gamma", "copies"), ("test_accuracy", "cosine")), ("SEMoLA",)),
}
