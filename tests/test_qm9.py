"""QM9: units, split and padding of the data, its actions, and LieConv against a slow formulation, atom by atom."""

import io
import tarfile

import numpy as np
import pytest
import torch
from torch.nn.functional import silu

from lib import models, tasks
from lib.actions import on_atoms
from lib.draws import random_stream
from lib.groups import affine_family_3d, se
from lib.metrics import orthonormal
from lib.models.lieconv import LieConv
from lib.tasks import qm9
from lib.tasks.files import qm9 as files
from lib.tasks.files.prepared import read
from lib.tasks.files.sources import DataError


@pytest.fixture(scope="module")
def homo():
    return tasks.load("qm9", scenario="homo", n_train=2000, n_eval=500)


# ------------------------------------------------------------------------------------------------------------ the data


@pytest.mark.parametrize(("scenario", "mean", "std"), [("homo", -6.536, 0.598), ("lumo", 0.322, 1.275)])
def test_energies_are_in_electronvolts_and_errors_in_thousandths(scenario, mean, std):
    arrays, _ = read("qm9")
    energy = arrays[scenario].astype(float) * qm9.HARTREE
    assert energy.mean() == pytest.approx(mean, abs=1e-3) and energy.std() == pytest.approx(std, abs=1e-3)
    task = tasks.load("qm9", scenario=scenario, n_train=2000, n_eval=500)
    assert task.train[1].mean().abs() < 1e-5 and task.train[1].std(correction=0) == pytest.approx(1.0, abs=1e-5)
    spread = energy[np.random.RandomState(0).permutation(len(energy))[:2000]].std()
    assert task.metric(task.test[1] + 0.1, task.test[1]).item() == pytest.approx(100 * spread, rel=1e-4)
    assert task.reported(torch.ones(())).item() == pytest.approx(spread, rel=1e-4)


def test_the_split_is_cormorants_and_every_atom_is_there(homo):
    arrays, _ = read("qm9")
    order = np.random.RandomState(0).permutation(130_831)
    starts = np.cumsum(arrays["count"].astype(int)) - arrays["count"]
    for part, first in {"train": 0, "val": 100_000, "test": 117_748}.items():
        x = getattr(homo, part)[0]
        for i in (0, 7, 499):
            molecule = order[first + i]
            atoms = slice(starts[molecule], starts[molecule] + arrays["count"][molecule])
            there = x[i][x[i, :, 0] > 0]
            assert there[:, 0].tolist() == arrays["z"][atoms].tolist() and np.array_equal(there[:, 1:], arrays["positions"][atoms])
            assert not x[i][len(there) :].any()


def test_small_molecules_can_be_chosen():
    task = tasks.load("qm9", scenario="homo", n_train=100, n_eval=100, heavy=7)
    assert ((task.train[0][..., 0] > 1).sum(1) <= 7).all()
    with pytest.raises(ValueError, match="n_train must be between 1 and 3009"):
        tasks.load("qm9", scenario="homo", n_train=3010, n_eval=100, heavy=7)
    with pytest.raises(ValueError, match="unknown scenario 'gap'"):
        tasks.load("qm9", scenario="gap")


def test_the_archive_of_the_authors_is_read(monkeypatch):
    """Two molecules written as the archive has them, one of them listed as uncharacterised."""
    xyz = "2\ngdb {0}\t1.0\t1.0\t1.0\t0.0\t6.3\t-0.3877\t0.1171\t0.5\nC\t-0.0127\t1.0858\t8.0e-3\t-0.5\nH\t2.1*^-3\t-6.0E-3\t1.9\t0.1\n\n"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:bz2") as archive:
        for number in (2, 1):
            entry = tarfile.TarInfo(f"dsgdb9nsd_{number:06d}.xyz")
            text = xyz.format(number).encode()
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    listed = "\n".join([*("a heading" for _ in range(9)), "     2 C", "a sum"]).encode()
    monkeypatch.setattr(files, "MOLECULES", 1)
    arrays = files.prepare({"archive": buffer.getvalue(), "uncharacterised": listed})
    assert arrays["z"].tolist() == [6, 1] and arrays["count"].tolist() == [2]
    assert arrays["positions"][1].tolist() == pytest.approx([2.1e-3, -6e-3, 1.9])
    assert (arrays["homo"][0], arrays["lumo"][0]) == (pytest.approx(-0.3877), pytest.approx(0.1171))
    monkeypatch.setattr(files, "MOLECULES", 2)
    with pytest.raises(DataError, match="2 characterised molecules, found 1"):
        files.prepare({"archive": buffer.getvalue(), "uncharacterised": listed})


# ------------------------------------------------------------------------------------------------ actions and the group


def test_an_affine_map_moves_atoms_and_no_empty_places(homo):
    x = homo.test[0][:5].double()
    g = qm9.motions(5, random_stream(0, "test"), torch.float64).unsqueeze(1)
    moved = on_atoms(g, x)[:, 0]
    for i in range(5):
        for atom, other in zip(x[i], moved[i], strict=True):
            expected = g[i, 0] @ torch.cat([atom[1:], torch.ones(1)]) if atom[0] > 0 else torch.zeros(4)
            assert other[0] == atom[0] and (other[1:] - expected[:3]).abs().max() < 1e-12
    there = x[..., 0] > 0
    for i in range(5):
        before, after = (torch.pdist(atoms[i][there[i], 1:]) for atoms in (x, moved))
        assert (before - after).abs().max() < 1e-12
    rotation = g[:, 0, :3, :3]
    assert (torch.linalg.det(rotation) - 1).abs().max() < 1e-12


def test_augerinos_family_spans_the_affine_maps_and_holds_the_motions():
    family, motions = affine_family_3d(dtype=torch.float64).flatten(1), se(3, dtype=torch.float64).flatten(1)
    q = orthonormal(family)
    assert len(q) == 12 and (motions - motions @ q.T @ q).abs().max() < 1e-12
    assert not family.unflatten(1, (4, 4))[:, 3].any()


# ------------------------------------------------------------------------------------------------------------- LieConv


def test_the_published_size_has_21_million_parameters():
    with torch.device("meta"):
        network = LieConv(torch.Size([29, 4]), torch.Size([]))
    own = sum(parameter.numel() for parameter in network.parameters())
    inner, weights = 384, 16
    block = 1536 * inner + inner + inner * 1536 + 1536 + weights * inner * inner + inner + 2 * (1536 + 2 * inner)
    pairs = 6 * 32 + 32 + 32 * 32 + 32 + 32 * 16 + 16 + 2 * (32 + 32 + 16)
    assert own == 15 * 1536 + 1536 + 6 * (block + pairs) + 2 * 1536 + 1536 + 1 == 21_316_129


@pytest.mark.parametrize("pairs", ["absolute", "relative"])
def test_lieconv_is_the_sum_over_pairs_of_atoms(pairs, homo, double):
    """One molecule, one atom, one neighbour and one channel at a time, from the formulas, as in the authors' code."""
    network = models.build(
        "lieconv", torch.Generator().manual_seed(0), torch.Size([29, 4]), torch.Size([]), channels=8, blocks=2, pairs=pairs
    )
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    x = homo.test[0][:3].double()
    expected = [slowly(network, molecule[molecule[:, 0] > 0], pairs) for molecule in x]
    assert torch.allclose(network(x), torch.stack(expected), rtol=1e-10, atol=1e-12)


def small(**options) -> LieConv:
    return models.build("lieconv", torch.Generator().manual_seed(0), torch.Size([29, 4]), torch.Size([]), channels=8, blocks=2, **options)


def slowly(network: LieConv, atoms: torch.Tensor, pairs: str) -> torch.Tensor:
    def normed(layer, h):
        return layer.weight * (h - h.mean()) / (h.var(correction=0) + layer.eps).sqrt() + layer.bias

    features = []
    for atom in atoms:
        z = atom[0] / 9
        one_hot = [float(atom[0] == number) for number in (1, 6, 7, 8, 9)]
        features.append(network.embed(torch.stack([hot * power for hot in one_hot for power in (torch.ones(()), z, z**2)])))
    for block in network.blocks:
        inner = [silu(normed(block.norms[1], block.down(silu(normed(block.norms[0], h))))) for h in features]
        new = []
        for i in range(len(atoms)):
            total = torch.zeros(16, inner[0].numel())
            for j in range(len(atoms)):
                place = atoms[i, 1:] - atoms[j, 1:] if pairs == "relative" else torch.cat([atoms[i, 1:], atoms[j, 1:]])
                w = block.convolution.weights
                w = silu(normed(w.rest[0], w.first(place)))
                for layer in block.convolution.weights.rest[2:]:
                    w = silu(normed(layer[1], layer[0](w)))
                total += torch.outer(w, inner[j]) / len(atoms)
            out = block.convolution.mix(total.flatten())
            new.append(features[i] + block.up(silu(normed(block.norms[2], out))))
        features = new
    return torch.stack([network.last(silu(normed(network.norm, h)))[0] for h in features]).mean()


def test_padding_order_and_company_change_nothing(homo, double):
    network = small()
    x = homo.test[0][:6].double()
    alone = torch.cat([network(molecule[molecule[:, 0] > 0][None]) for molecule in x])
    assert torch.allclose(network(x), alone, rtol=1e-10)
    backwards = torch.zeros_like(x)
    for mine, other in zip(backwards, x, strict=True):
        count = (other[:, 0] > 0).sum()
        mine[:count] = other[:count].flip(0)
    assert torch.allclose(network(backwards), alone, rtol=1e-10)


def test_all_pairs_at_once_are_the_pairs_that_are_there(homo, double):
    """What a GPU computes: no pair is left out, and the empty ones weigh nothing."""
    network = small()
    x = homo.test[0][:6].double()
    share = (x[..., 0] > 0).double() / (x[..., 0] > 0).sum(1, keepdim=True)
    hidden = torch.randn(6, 29, 8, generator=torch.Generator().manual_seed(2))
    some = ((x[..., 0] > 0).unsqueeze(2) & (x[..., 0] > 0).unsqueeze(1)).flatten().nonzero().squeeze(1)
    for block in network.blocks:
        dense, sparse = block(hidden, share, x[..., 1:], None), block(hidden, share, x[..., 1:], some)
        assert torch.allclose(dense[share > 0], sparse[share > 0], rtol=1e-10)


def test_relative_pairs_know_no_place_and_absolute_ones_do(homo, double):
    x = homo.test[0][:6].double()
    g = torch.eye(4).repeat(6, 1, 1, 1)
    g[..., :3, 3] = torch.tensor([1.0, -2.0, 3.0])
    gaps = {}
    for pairs in ("absolute", "relative"):
        network = small(pairs=pairs)
        gaps[pairs] = (network(on_atoms(g, x)[:, 0]) - network(x)).abs().max().item()
    assert gaps["relative"] < 1e-12 and gaps["absolute"] > 1e-3


def test_half_precision_is_of_training_alone_and_moves_predictions_little(homo):
    x = homo.test[0]
    network, half = small(), small(precision="bfloat16")
    with torch.no_grad():
        exact, rounded = network(x), half(x)
        assert rounded.dtype == torch.float32 and 1e-3 < (rounded - exact).square().mean().sqrt() / exact.std() < 0.05
        assert torch.equal(half.eval()(x), exact)
    half.train()(x).sum().backward()
    assert {parameter.grad.dtype for parameter in half.parameters()} == {torch.float32}


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("inputs", "outputs", "options", "message"), [
    ((29, 3), (), {}, "atoms"), ((29, 4), (1,), {}, "atoms"), ((29, 4), (), {"pairs": "both"}, "pairs must be"),
    ((29, 4), (), {"precision": "float16"}, "precision must be"),
])  # fmt: skip
def test_what_is_no_molecule_is_refused(inputs, outputs, options, message):
    with pytest.raises(ValueError, match=message):
        LieConv(torch.Size(inputs), torch.Size(outputs), **options)
