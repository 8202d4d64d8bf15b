"""A layer that torch cannot export is swapped for a scan that computes the same, or refused by name."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from click.testing import CliRunner

from ssmc.cli import cli

torch = pytest.importorskip("torch")

from ssmc.errors import ModelError, UsageError  # noqa: E402 - after the torch skip
from ssmc.export import adapters  # noqa: E402
from ssmc.export.diagonal_scan import DiagonalScan  # noqa: E402
from ssmc.export.s4d_layer import adapt  # noqa: E402
from ssmc.export.swapping import LARGEST_ERROR, swap_layers  # noqa: E402
from tests.export.layers import S4D, Network  # noqa: E402


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def network(**options):
    return Network(**options).eval()


FACTORY = """
import torch
from tests.export.layers import Network

def build():
    torch.manual_seed(0)
    return Network()
"""


def test_a_network_with_s4d_layers_exports_and_runs_at_any_length(tmp_path) -> None:
    model = network()  # from the seed that the factory sets again
    (tmp_path / "make.py").write_text(FACTORY)
    arguments = ["export", f"{tmp_path / 'make.py'}:build", "--example", "1,6,3", "-o", str(tmp_path / "m.onnx")]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.stdout.splitlines()[2:4]]
    assert [row[:4] for row in rows] == [[f"blocks.{i}", "S4D", "s4d", str(8 * 8)] for i in range(2)]
    assert all(0 < float(row[4]) < 1e-5 for row in rows)
    assert [n.op_type for n in onnx.load(tmp_path / "m.onnx").graph.node].count("Scan") == 2
    session = ort.InferenceSession(tmp_path / "m.onnx")
    for shape in ((1, 1, 3), (4, 50, 3), (2, 300, 3)):
        x = torch.randn(shape)
        wanted = model(x).detach().numpy()
        assert np.abs(session.run(None, {"x": x.numpy()})[0] - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_time_may_be_the_middle_axis() -> None:
    model, x = network(transposed=False), torch.randn(2, 30, 3)
    wanted = model(x)
    swapped, swaps = swap_layers(model, (x,))
    assert len(swaps) == 2
    assert torch.allclose(swapped(x), wanted, atol=1e-5)


@pytest.mark.parametrize("gain", [1.0, 2.0])
def test_the_scan_is_the_equation(gain) -> None:
    a = torch.polar(torch.rand(2, 3, dtype=torch.float64), 6 * torch.rand(2, 3, dtype=torch.float64))
    b, c = (torch.randn(2, 3, dtype=torch.complex128) for _ in "bc")
    d, u = torch.randn(2), torch.randn(4, 20, 2)
    state, wanted = torch.zeros(4, 2, 3, dtype=torch.complex128), []
    for k in range(u.shape[1]):
        state = a * state + b * u[:, k, :, None]
        wanted.append(gain * (c * state).real.sum(-1) + d * u[:, k])
    assert torch.allclose(DiagonalScan(a, b, c, d, gain)(u).double(), torch.stack(wanted, 1), atol=1e-5)


class Twice(torch.nn.Module):
    """One layer called in two places, and one that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.second = S4D(3, 2, transposed=False)
        self.idle = S4D(3, 2)

    def forward(self, x):
        return self.second(self.first(x)[0])[0]


def test_a_shared_layer_is_swapped_everywhere_and_an_idle_one_nowhere() -> None:
    model = Twice().eval()
    x = torch.randn(2, 30, 3)
    wanted = model(x)
    swapped, swaps = swap_layers(model, (x,))
    assert [swap.layer for swap in swaps] == ["first"]
    assert swapped.first is swapped.second
    assert type(swapped.idle) is S4D
    assert torch.allclose(swapped(x), wanted, atol=1e-5)


def test_the_model_itself_may_be_the_layer() -> None:
    layer = S4D(3, 2, transposed=False).eval()
    swapped, swaps = swap_layers(layer, (torch.zeros(1, 2, 3),))
    assert swapped is not layer
    assert [swap.layer for swap in swaps] == [""]


def test_a_model_without_such_layers_is_not_run() -> None:
    class Untouched(torch.nn.Module):
        def forward(self, x):
            raise AssertionError

    model = Untouched()
    assert swap_layers(model, (torch.zeros(1, 2, 3),)) == (model, ())


def scaled(layer, u):
    return S4D.forward(layer, u)[0] * (1 + 2 * LARGEST_ERROR), None


def stateful(layer, u):
    return S4D.forward(layer, u)[0], torch.zeros(1)


@pytest.mark.parametrize(
    ("forward", "why"),
    [(scaled, "is off by 0.00"), (stateful, r"returns \[\(1, 8, 65\)\], the layer returns \[\(1, 8, 65\), \(1,\)\]")],
)
def test_another_version_of_the_layer_is_refused(forward, why) -> None:
    model = network(layers=1)
    model.blocks[0].__class__ = type("S4D", (S4D,), {"forward": forward})
    with pytest.raises(ModelError, match=rf"SSMC-X04\]: blocks.0: S4D as a scan \(adapter 's4d'\) {why}"):
        swap_layers(model, (torch.zeros(1, 5, 3),))


def test_a_model_that_fails_on_the_example_says_so() -> None:
    with pytest.raises(ModelError, match=r"SSMC-X01.*fails on the example"):
        swap_layers(network(), (torch.zeros(1, 5, 4),))


class Entry:
    """An entry point of a package, as `Registry.find` gives it."""

    name, value = "mine", "mine:adapt"

    class dist:  # noqa: N801 - importlib's name
        name, version = "ssmc-mine", "0.3"

    def __init__(self, adapter) -> None:
        self.load = lambda: adapter


@pytest.mark.parametrize(
    ("adapter", "why"),
    [
        (lambda layer: layer.no_such_weight, "fails on a layer of class Network: AttributeError"),
        (lambda layer: "scan", "returns a str, not a torch module, candidates or None"),
    ],
)
def test_a_broken_adapter_names_its_package(monkeypatch, adapter, why) -> None:
    monkeypatch.setattr(adapters.Registry, "names", lambda self: ("mine",))
    monkeypatch.setattr(adapters.Registry, "find", lambda self, name: Entry(adapter))
    with pytest.raises(UsageError, match=f"SSMC-U41.*'mine' of package 'ssmc-mine' 0.3.*{why}"):
        swap_layers(network(), (torch.zeros(1, 5, 3),))


def test_weights_of_another_precision_make_the_same_scan() -> None:
    layer = S4D(4, 3)
    one, other = (next(adapt(twin)).module.scan.matrix for twin in (layer, copy.deepcopy(layer).double()))
    assert torch.equal(one, other)
