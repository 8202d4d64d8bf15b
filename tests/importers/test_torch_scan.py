"""A state-space model in plain torch, exported by torch itself, compiles; its Mamba sibling does not."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest

from ssmc.errors import ModelError
from ssmc.importers.onnx_file import load_model
from ssmc.ir.executor import Executor
from ssmc.ir.operations import StateSpace
from ssmc.ir.read_program import read_program
from ssmc.pipeline import run_pipeline
from ssmc.targets.integer.target import IntegerTarget
from ssmc.verify import run_onnx

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
scan = pytest.importorskip("torch._higher_order_ops.scan").scan

FEATURES, H, N = 3, 4, 3


def q(x: torch.Tensor, step: float, lo: int = -128, hi: int = 127) -> torch.Tensor:
    return torch.clamp(torch.round(x / step), lo, hi) * step


class Hand(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Diagonal complex modes as Re and Im; nothing of ssmc."""

    def __init__(self, after: bool = False, mamba: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.after, self.mamba = after, mamba
        self.encoder, self.mix, self.decoder = (torch.nn.Linear(*s) for s in ((FEATURES, H), (H, 2 * H), (H, 5)))
        self.norm = torch.nn.BatchNorm1d(2 * H)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)
        self.log_dt = torch.nn.Parameter(torch.rand(H) - 3)
        self.decay = torch.nn.Parameter(torch.full((H, N), -0.7))
        self.turn = torch.nn.Parameter(3.14 * torch.arange(N).float().repeat(H, 1))
        self.C, self.D = torch.nn.Parameter(torch.randn(H, N, 2)), torch.nn.Parameter(torch.randn(H))
        with torch.no_grad():
            for layer in (self.encoder, self.mix, self.decoder):
                layer.weight.copy_(q(layer.weight, 2**-7, -127, 127))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dt = torch.exp(self.log_dt)[:, None]
        radius = torch.exp(-torch.exp(self.decay) * dt)
        p = q(radius * torch.cos(self.turn * dt), 2**-7, -127, 127)
        w = q(radius * torch.sin(self.turn * dt), 2**-7, -127, 127)
        C_re, C_im, D = q(self.C[..., 0], 2**-5), q(self.C[..., 1], 2**-5), q(self.D, 2**-5)
        u = q(self.encoder(q(x, 2**-5)), 2**-5)

        def step(carry, ut):  # type: ignore[no-untyped-def]
            re, im = carry
            a = p
            if self.mamba:
                a = p * torch.exp(-(ut.unsqueeze(-1) ** 2))
            new_re = q(a * re - w * im + ut.unsqueeze(-1), 2**-3)
            new_im = q(w * re + a * im, 2**-3)
            if self.after:
                y = 2 * (C_re * new_re - C_im * new_im).sum(-1) + D * ut
            else:
                y = 2 * (C_re * re - C_im * im).sum(-1) + D * ut
            return (new_re.clone(), new_im.clone()), y.clone()

        zero = torch.zeros(x.shape[0], self.decay.shape[0], self.decay.shape[1])
        _, y = scan(step, (zero, zero.clone()), u.transpose(0, 1))
        y = q(y.transpose(0, 1), 2**-2)
        y = q(torch.relu(y), 2**-2, 0, 127)
        m = q(self.norm(self.mix(y).transpose(1, 2)).transpose(1, 2), 2**-4)
        a, b = m.chunk(2, -1)
        gated = q(a * q(torch.sigmoid(b), 2**-7, 0, 127), 2**-4)
        return q(self.decoder(q(q(u + gated, 2**-4).mean(1), 2**-5)), 2**-5)


def export(path: Path, **options: bool) -> Path:
    dynamic = ({0: torch.export.Dim("batch"), 1: torch.export.Dim("time")},)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch's own, about its exporter
        program = torch.onnx.export(
            Hand(**options).eval(), (torch.randn(2, 7, FEATURES),), dynamo=True, opset_version=21,
            dynamic_shapes=dynamic, verbose=False,
        )  # fmt: skip
        program.save(str(path))
    return path


@pytest.mark.parametrize("after", [False, True])
def test_it_compiles_and_equals_onnxruntime(tmp_path: Path, after: bool) -> None:
    path = export(tmp_path / "hand.onnx", after=after)
    program = read_program(run_pipeline(load_model(path), IntegerTarget().pipeline()).model)
    (kernel,) = (op for op in program.ops if isinstance(op, StateSpace))
    assert kernel.matrix.groups == H
    assert (kernel.n_state, kernel.n_input, kernel.n_output) == (2 * N - 1, 1, 1)  # mode 0 does not turn: no Im
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
