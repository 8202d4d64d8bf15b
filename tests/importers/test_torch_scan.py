"""A state-space model written by hand in plain torch, exported by torch itself, compiles; its Mamba sibling does not."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest

from ssmc.errors import ModelError
from ssmc.importers.onnx_file import load_model
from ssmc.ir.ops import read_program
from ssmc.ir.program import StateSpace
from ssmc.pipeline import run_pipeline
from ssmc.targets.integer.executor import Executor
from ssmc.targets.integer.target import IntegerTarget
from ssmc.verify import run_onnx

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

FEATURES, H, N = 3, 4, 3


def q(x: torch.Tensor, step: float, lo: int = -128, hi: int = 127) -> torch.Tensor:
    return torch.clamp(torch.round(x / step), lo, hi) * step


class Hand(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Diagonal complex modes as Re and Im; nothing of ssmc."""

    def __init__(self, after: bool = False, mamba: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.after, self.mamba = after, mamba
        self.encoder, self.mix, self.decoder = (torch.nn.Linear(*s) for s in ((FEATURES, H), (H, 2 * H), (H, 4)))
        self.norm = torch.nn.BatchNorm1d(2 * H)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)
        self.decay, self.turn = torch.nn.Parameter(torch.rand(H, N)), torch.nn.Parameter(torch.rand(H, N))
        self.C, self.D = torch.nn.Parameter(torch.randn(H, N, 2)), torch.nn.Parameter(torch.randn(H))
        with torch.no_grad():
            for layer in (self.encoder, self.mix, self.decoder):
                layer.weight.copy_(q(layer.weight, 2**-7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        from torch._higher_order_ops.scan import scan

        radius = torch.exp(-torch.exp(self.decay) * 0.1)
        p, w = (q(radius * f(self.turn), 2**-7) for f in (torch.cos, torch.sin))
        C, D = q(self.C, 2**-5), q(self.D, 2**-5)
        u = q(self.encoder(q(x, 2**-5)), 2**-5)

        def step(carry: tuple[torch.Tensor, torch.Tensor], ut: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
            re, im = carry
            a = p * torch.exp(-(ut.unsqueeze(-1) ** 2)) if self.mamba else p
            new_re = q(a * re - w * im + ut.unsqueeze(-1), 2**-3)
            new_im = q(w * re + a * im, 2**-3)
            seen = (new_re, new_im) if self.after else (re, im)
            y = 2 * (C[..., 0] * seen[0] - C[..., 1] * seen[1]).sum(-1) + D * ut
            return (new_re.clone(), new_im.clone()), y.clone()

        zero = torch.zeros(x.shape[0], *self.decay.shape)
        _, y = scan(step, (zero, zero.clone()), u.transpose(0, 1))
        y = q(torch.relu(q(y.transpose(0, 1), 2**-2)), 2**-2, 0, 127)
        m = q(self.norm(self.mix(y).transpose(1, 2)).transpose(1, 2), 2**-4)
        a, b = m.chunk(2, -1)
        gated = q(a * q(torch.sigmoid(b), 2**-7, 0, 127), 2**-4)
        return q(self.decoder(q(q(u + gated, 2**-4).mean(1), 2**-5)), 2**-5)


def export(path: Path, **options: bool) -> Path:
    dynamic = ({0: torch.export.Dim("batch"), 1: torch.export.Dim("time")},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its exporter
        program = torch.onnx.export(
            Hand(**options).eval(), (torch.randn(2, 7, FEATURES),), dynamo=True, opset_version=21, dynamic_shapes=dynamic,
            verbose=False,
        )  # fmt: skip
        program.save(str(path))
    return path


@pytest.mark.parametrize("after", [False, True])
def test_it_compiles_and_equals_onnxruntime(tmp_path: Path, after: bool) -> None:
    path = export(tmp_path / "hand.onnx", after=after)
    program = read_program(run_pipeline(load_model(path), IntegerTarget().pipeline()).model)
    (kernel,) = (op for op in program.ops if isinstance(op, StateSpace))
    assert kernel.matrix.groups == H
    assert (kernel.n_state, kernel.n_input, kernel.n_output) == (2 * N, 1, 1)
    assert kernel.output_after is after
    x = np.random.default_rng(0).standard_normal((4, 30, FEATURES)).astype(np.float32)
    assert np.array_equal(Executor(program).run(x), run_onnx(onnx.load(path), {"x": x})[0])


def test_its_mamba_sibling_is_declined_at_the_guilty_node(tmp_path: Path) -> None:
    model = load_model(export(tmp_path / "mamba.onnx", mamba=True))
    scan = next(node for node in model.graph if node.op_type == "Scan")
    inside = {node.name: node.op_type for node in scan.attributes["body"].as_graph()}
    with pytest.raises(ModelError) as caught:
        run_pipeline(model, IntegerTarget().pipeline())
    assert (caught.value.code, caught.value.exit_status) == ("SSMC-S01", 1)
    assert inside[caught.value.node] in {"Pow", "Mul", "Exp"}
    assert "Mamba" in caught.value.remedy
