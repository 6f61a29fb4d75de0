"""Networks: what is promised to be equivariant is, for the groups and in the precision promised."""

import warnings

import pytest
import torch

from lib import models
from lib.exponential import exp_map
from lib.groups import elementary, so
from lib.models.emlp import EMLP, AmbiguousSymmetryWarning, invariants
from lib.models.gcnn import GCNN, P4Convolution

BOOSTS = torch.stack([elementary(4, 0, i) + elementary(4, i, 0) for i in (1, 2, 3)])
LORENTZ = torch.cat([torch.nn.functional.pad(so(3), (1, 0, 1, 0)), BOOSTS])
TWO_BODY = torch.block_diag(*[so(2)[0]] * 4).unsqueeze(0)
GROUPS = {"SO(2)": so(2), "SO(3)": so(3), "Lorentz": LORENTZ, "two-body": TWO_BODY}


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def group_elements(generators, count, scale=0.7):
    w = scale * torch.randn(count, len(generators), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return exp_map(w, generators.double())


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("kind", ["vectors", "invariant"])
def test_emlp_is_equivariant(name, kind, double):
    generators = GROUPS[name]
    n = generators.shape[-1]
    outputs = torch.Size([2, n]) if kind == "vectors" else torch.Size([])
    network = models.build("emlp", torch.Generator().manual_seed(0), torch.Size([3, n]), outputs, generators, channels=4)
    x = torch.randn(50, 3, n)
    g = group_elements(generators, 50)
    y, moved = network(x), network(torch.einsum("bij,bmj->bmi", g, x))
    expected = torch.einsum("bij,bmj->bmi", g, y) if kind == "vectors" else y
    error = ((moved - expected).abs().max() / y.abs().max()).item()
    print(name, kind, error)
    assert error < 1e-10
    assert y.std(0).min() > 1e-3, "the output hardly depends on the input"


def test_emlp_answers_to_its_generators_only(double):
    network = models.build("emlp", torch.Generator().manual_seed(0), torch.Size([3, 4]), torch.Size([3, 4]), LORENTZ)
    x = torch.randn(50, 3, 4)
    scaled = network(2 * x)
    assert ((scaled - 2 * network(x)).abs().max() / scaled.abs().max()) > 1e-3


@pytest.mark.parametrize(("name", "commutant", "forms"), [("SO(2)", 2, 2), ("SO(3)", 1, 1), ("Lorentz", 1, 1), ("two-body", 32, 32)])
def test_spaces_of_invariants_have_the_known_dimensions(name, commutant, forms):
    """Schur: R or C for the irreducible ones; 2 * 4^2 for four copies of the plane."""
    n = GROUPS[name].shape[-1]
    network = EMLP(torch.Size([1, n]), torch.Size([1, n]), GROUPS[name])
    assert len(network.linears[0].commutant) == commutant
    assert len(network.bilinears[0].forms) == forms


@pytest.mark.parametrize("name", ["SO(2)", "SO(3)", "two-body"])
def test_the_basis_of_a_space_of_invariants_does_not_hang_on_rounding(name):
    """The same equations, mixed by a rotation, have the same solutions, but another decomposition."""
    g = GROUPS[name].double()
    eye = torch.eye(g.shape[-1], dtype=torch.float64)
    commuting = torch.cat([torch.kron(a, eye) - torch.kron(eye, a.T.contiguous()) for a in g])
    square = torch.randn(len(commuting), len(commuting), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mixing, _ = torch.linalg.qr(square)
    basis, again = (invariants(rows.unsqueeze(0), 1e-5, "linear maps") for rows in (commuting, mixing @ commuting))
    torch.testing.assert_close(basis, again, rtol=0, atol=1e-12)
    torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis), dtype=torch.float64))
    assert (commuting @ basis.T).abs().max() < 1e-12


def test_the_invariant_form_of_the_lorentz_group_is_minkowskis():
    form = EMLP(torch.Size([1, 4]), torch.Size([]), LORENTZ).bilinears[0].forms[0]
    torch.testing.assert_close(form / form[1, 1], torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0])))


@pytest.mark.parametrize("tolerance", [1e-5, 0.3])
def test_emlp_warns_of_generators_that_do_not_close(tolerance):
    open_pair = torch.stack([so(3)[0], so(3)[1]])
    with pytest.warns(AmbiguousSymmetryWarning, match="do not close"):
        EMLP(torch.Size([1, 3]), torch.Size([1, 3]), open_pair, tolerance=tolerance)


def test_emlp_of_a_noisy_generator():
    """With a tolerance above the noise it is the rotation's network, and without a warning; below it all products are lost."""
    noisy = TWO_BODY + 0.02 * torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0))
    options = {"tolerance": 0.3}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AmbiguousSymmetryWarning)
        exact = EMLP(torch.Size([1, 8]), torch.Size([1, 8]), noisy)
    with warnings.catch_warnings():
        warnings.simplefilter("error", AmbiguousSymmetryWarning)
        tolerant = EMLP(torch.Size([1, 8]), torch.Size([1, 8]), noisy, **options)
    assert (len(exact.linears[0].commutant), len(exact.bilinears[0].forms)) == (8, 0)  # the powers of one generic matrix
    assert (len(tolerant.linears[0].commutant), len(tolerant.bilinears[0].forms)) == (32, 32)
    with pytest.warns(AmbiguousSymmetryWarning, match="just above the tolerance"):
        invariants(torch.diag(torch.tensor([1.0, 2e-5])).unsqueeze(0), 1e-5, "two directions")


def test_emlp_bad_inputs():
    with pytest.raises(ValueError, match="needs generators"):
        EMLP(torch.Size([1, 3]), torch.Size([]), None)
    with pytest.raises(ValueError, match="of the generators' size 3"):
        EMLP(torch.Size([1, 4]), torch.Size([]), so(3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gcnn_is_invariant_to_quarter_turns(dtype):
    network = models.build("gcnn", torch.Generator().manual_seed(0), torch.Size([1, 28, 28]), torch.Size([10])).to(dtype)
    x = torch.rand(8, 1, 28, 28, dtype=dtype)
    y = network(x)
    for quarter in (1, 2, 3):
        assert (network(torch.rot90(x, quarter, (-2, -1))) - y).abs().max() < (1e-5 if dtype == torch.float32 else 1e-12)
    assert (network(x.flip(-1)) - y).abs().max() > 1e-3, "reflections are no symmetry of p4"


def test_p4_convolution_is_equivariant():
    """Turning the image turns every map and shifts the orientations by one."""
    torch.manual_seed(0)
    lift, group = P4Convolution(2, 3, 3, lifting=True, padding=1).double(), P4Convolution(3, 4, 3, padding=1).double()
    x = torch.rand(2, 2, 8, 8, dtype=torch.float64)
    y, turned = (group(lift(image)).unflatten(1, (4, 4)) for image in (x, torch.rot90(x, 1, (-2, -1))))
    torch.testing.assert_close(turned, torch.rot90(y, 1, (-2, -1)).roll(1, 2))


def test_gcnn_bad_inputs():
    with pytest.raises(ValueError, match="divisible by 4 only, got 27"):
        GCNN(torch.Size([1, 27, 27]), torch.Size([10]))
    with pytest.raises(ValueError, match="four convolutions"):
        GCNN(torch.Size([1, 28, 28]), torch.Size([10]), widths=[4])


def test_mlp_has_four_layers_and_the_shape_asked_for():
    network = models.build("mlp", torch.Generator().manual_seed(0), torch.Size([3, 8]), torch.Size([2, 8]), width=16)
    assert [tuple(p.shape) for p in network.parameters() if p.ndim == 2] == [(16, 24), (16, 16), (16, 16), (16, 16)]
    assert network(torch.rand(5, 3, 8)).shape == (5, 2, 8)
    scalar = models.build("mlp", torch.Generator().manual_seed(0), torch.Size([3]), torch.Size([]), width=16)
    assert scalar(torch.rand(5, 3)).shape == (5,)
