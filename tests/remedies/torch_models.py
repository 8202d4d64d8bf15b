"""Remedies for `ssmc export`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from ssmc.export import adapters, export_onnx  # noqa: E402 - after the torch skip
from ssmc.export.checkpoint import load_weights  # noqa: E402
from ssmc.export.s4d_layer import adapt  # noqa: E402
from ssmc.export.swapping import swap_layers  # noqa: E402
from tests.export import foreign  # noqa: E402
from tests.export.layers import S4D, Network  # noqa: E402
from tests.remedies.following import fails, refused, remedy, works  # noqa: E402

X = torch.zeros(2, 20, 3)


class Layer(torch.nn.Module):
    """A linear layer, and what a subclass makes of its output."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)

    def forward(self, x):
        return self.end(self.linear(x))

    def end(self, y):
        return torch.relu(y)


class Deciding(Layer):
    def end(self, y):
        return torch.relu(y) if y.sum() > 0 else y


@remedy("SSMC-X01")
def no_decision_by_values(folder: Path) -> None:
    with refused("SSMC-X01"):
        export_onnx(Deciding(), X, folder / "m.onnx")
    export_onnx(Layer(), X, folder / "m.onnx")


@remedy("SSMC-X02")
def an_example_with_time(folder: Path) -> None:
    with refused("SSMC-X02"):
        export_onnx(Layer(), torch.zeros(3), folder / "m.onnx")
    export_onnx(Layer(), X, folder / "m.onnx")


@remedy("SSMC-X03")
def a_writable_path(folder: Path) -> None:
    with refused("SSMC-X03"):
        export_onnx(Layer(), X, folder / "none" / "m.onnx")
    export_onnx(Layer(), X, folder / "m.onnx")


class Scaled(S4D):
    def forward(self, u, **kwargs):
        return S4D.forward(self, u)[0] * 2, None


@remedy("SSMC-X04")
def an_adapter_for_this_version(folder: Path) -> None:
    class Doubled(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, u, **kwargs):
            return self.inner(u) * 2, None

    def mine(layer):
        if type(layer) is not Scaled:
            return None
        return (type(one)(one.convention, Doubled(one.module)) for one in adapt(layer))

    model = Network(layers=1)
    model.blocks[0].__class__ = Scaled
    with refused("SSMC-X04"):
        swap_layers(model, (X,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapters, "_registered", {})
        adapters.register_adapter("mine", mine)
        _, swaps = swap_layers(model, (X,))
    assert [swap.adapter for swap in swaps] == ["mine"]


@remedy("SSMC-X05")
def a_layer_that_runs_forward(folder: Path) -> None:
    with refused("SSMC-X05"):
        swap_layers(torch.nn.Sequential(foreign.S5(4, 8, bidir=True)), (torch.zeros(1, 20, 4),))
    _, swaps = swap_layers(torch.nn.Sequential(foreign.S5(4, 8)), (torch.zeros(1, 20, 4),))
    assert len(swaps) == 1


@remedy("SSMC-U20")
def torch_installed(folder: Path) -> None:
    words = (
        "export",
        f"{written(folder, 'return torch.nn.Linear(3, 3)')}:build",
        "--example",
        "2,20,3",
        "-o",
        folder / "m.onnx",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "ssmc.export.checkpoint", raising=False)
        patch.setitem(sys.modules, "torch", None)
        fails("SSMC-U20", *words)
    works(*words)


class FixedLength(Layer):
    def end(self, y):
        return y + torch.ones(20, 3)


@remedy("SSMC-X06")
def any_length(folder: Path) -> None:
    with refused("SSMC-X06"):
        export_onnx(FixedLength(), X, folder / "m.onnx")
    export_onnx(Layer(), X, folder / "m.onnx")


def written(folder: Path, body: str) -> Path:
    (folder / "net.py").write_text(f"import torch\n\n\ndef build():\n    {body}\n")
    return folder / "net.py"


@remedy("SSMC-U21")
def file_and_function(folder: Path) -> None:
    path, words = written(folder, "return torch.nn.Linear(3, 3)"), ("--example", "2,20,3", "-o", folder / "m.onnx")
    fails("SSMC-U21", "export", f"{path}:make", *words)
    works("export", f"{path}:build", *words)


@remedy("SSMC-U22")
def the_state_dict_of_this_model(folder: Path) -> None:
    torch.save(torch.nn.Linear(4, 2).state_dict(), folder / "other.pt")
    torch.save(torch.nn.Linear(3, 2).state_dict(), folder / "own.pt")
    with refused("SSMC-U22"):
        load_weights(torch.nn.Linear(3, 2), folder / "other.pt")
    load_weights(torch.nn.Linear(3, 2), folder / "own.pt")


@remedy("SSMC-U23")
def the_line_corrected(folder: Path) -> None:
    words = ("--example", "2,20,3", "-o", folder / "m.onnx")
    fails("SSMC-U23", "export", f"{written(folder, 'return torch.nn.Linear(3, 3) + 1')}:build", *words)
    works("export", f"{written(folder, 'return torch.nn.Linear(3, 3)')}:build", *words)
