"""Whole torch models: layers of several repositories, what cannot be exported and why, and on to integers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

import ssmc  # noqa: E402 - after the torch skip
from ssmc.data import Samples  # noqa: E402
from ssmc.errors import ModelError, SsmcError  # noqa: E402
from ssmc.export import Candidate, Refused, adapters, export_onnx, register_adapter, swapping  # noqa: E402
from ssmc.export.diagonal_scan import DiagonalScan  # noqa: E402
from ssmc.export.swapping import swap_layers  # noqa: E402
from ssmc.quantize.model import quantize  # noqa: E402
from ssmc.verify import run_onnx  # noqa: E402
from tests.export import foreign  # noqa: E402

H = 6


class Model(torch.nn.Module):
    """Encoder, layers with a residual, mean over time, decoder; keeps a computed tensor."""

    def __init__(self, **layers: torch.nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = torch.nn.Linear(3, H), torch.nn.Linear(H, 4)
        self.inside = torch.nn.ModuleDict({"blocks": torch.nn.ModuleDict(layers)})
        self.dropout = torch.nn.Dropout(0.3)
        self.last = {"norm": self.encoder.weight.norm()}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.encoder(x)
        for layer in self.inside["blocks"].values():
            y = layer(x.mT if getattr(layer, "transposed", False) else x)
            y = y[0] if isinstance(y, tuple) else y
            x = x + self.dropout(y.mT if getattr(layer, "transposed", False) else y)
        return self.decoder(x.mean(1))


def diagonal() -> Model:
    torch.manual_seed(0)
    convolution = foreign.FFTConv(foreign.S4Kernel(H, 3, H, 2, "bilinear", "exp"), H, 2)
    convolution.activation = torch.nn.GLU(dim=1)
    return Model(s4=convolution, s5=foreign.S5(H, 8), lru=foreign.LRU(H, 5, before=True))


def dense() -> Model:
    torch.manual_seed(0)
    return Model(dplr=foreign.FFTConv(foreign.LowRankKernel(H, 2, 40), H, transposed=False), lmu=foreign.LMUFFT(H, 4))


@pytest.fixture(scope="module", params=[(diagonal, 0.03), (dense, 0.05)], ids=["diagonal", "dense"])
def exported(request, tmp_path_factory):
    """Model, largest error allowed at 8 bits, file, what was swapped."""
    make, allowed = request.param
    model, path = make().train(), tmp_path_factory.mktemp("model") / "m.onnx"
    return model, allowed, path, export_onnx(model, torch.zeros(2, 20, 3), path)


def test_the_file_computes_what_the_layers_compute_at_any_batch_and_length(exported) -> None:
    model, _, path, swaps = exported
    assert model.training
    assert [swap.layer for swap in swaps] == [f"inside.blocks.{name}" for name in model.inside["blocks"]]
    assert all(0 < swap.error <= 1e-4 for swap in swaps)
    for shape in ((1, 1, 3), (3, 90, 3)):
        x = torch.randn(shape)
        wanted = model.eval()(x).detach().numpy()
        model.train()
        assert np.abs(run_onnx(onnx.load(path), {"x": x.numpy()})[0] - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_quantized_to_8_bits_without_training_it_stays_close(exported, tmp_path) -> None:
    _, allowed, path, _ = exported
    x = np.random.default_rng(0).standard_normal((24, 100, 3)).astype(np.float32)
    onnx.save(quantize(path, Samples(x[:16].reshape(-1, 3), np.arange(17) * 100)).model, tmp_path / "q.onnx")
    wanted = run_onnx(onnx.load(path), {"x": x[16:]})[0]
    found = ssmc.compile(tmp_path / "q.onnx", target="int").run(x[16:])
    assert np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)) <= allowed


class Loop(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = torch.nn.Linear(H, H)

    def forward(self, u):
        h, out = torch.zeros_like(u[:, 0]), []
        for k in range(u.shape[1]):
            h = 0.5 * h + self.mix(u[:, k])
            out.append(h)
        return torch.stack(out, 1)


class BatchSize(torch.nn.Module):
    def forward(self, u):
        return u + torch.zeros(int(u.shape[0]), 1, 1)


class Spectrum(torch.nn.Module):
    def forward(self, u):
        return torch.fft.irfft(0.5 * torch.fft.rfft(u, n=2 * u.shape[1], dim=1), n=2 * u.shape[1], dim=1)[
            :, : u.shape[1]
        ]


class Branch(torch.nn.Module):
    def forward(self, u):
        return u if u.mean() > 0 else -u


class Positions(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(10, H))

    def forward(self, u):
        return u + self.table


class Wrong(torch.nn.Module):
    def forward(self, u):
        return u + self.missing


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (
            Loop,
            r"X06.: inside.blocks.guilty: Loop fixes the length at 10: a loop over time.*write the recurrence",
        ),
        (BatchSize, r"X06.: inside.blocks.guilty: BatchSize fixes the batch at 2"),
        (Spectrum, r"X0[16].: inside.blocks.guilty: Spectrum computes in complex numbers \(fft_rfft\)"),
        (Branch, r"X01.: inside.blocks.guilty: Branch decides by the values of a tensor \(test_torch_models.py:\d+\)"),
        (
            Positions,
            r"X06.: inside.blocks.guilty: Positions fixes the length at 10: a loop over time in Python, or a table",
        ),
        (Wrong, r"X01.: inside.blocks.guilty: torch cannot trace Wrong: test_torch_models.py:\d+: AttributeError"),
    ],
)
def test_what_cannot_be_exported_is_refused_by_layer_and_reason(layer, why, tmp_path) -> None:
    model = Model(fine=torch.nn.Tanh(), guilty=layer())
    with pytest.raises(ModelError, match=rf"SSMC-{why}"):
        export_onnx(model, torch.zeros(2, 10, 3), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


class Decay(torch.nn.Module):
    """What no adapter of ssmc knows."""

    def __init__(self) -> None:
        super().__init__()
        self.decay = torch.nn.Parameter(torch.rand(H))

    def forward(self, u):
        powers = self.decay[:, None] ** torch.arange(u.shape[1])
        return foreign.convolve(torch.diag_embed(powers.T).permute(1, 2, 0), u.mT).mT


def scan_of(decay):
    one = torch.ones_like(decay)[:, None]
    return DiagonalScan(decay.detach()[:, None], one, one, torch.zeros_like(decay), gain=1.0)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(adapters, "_registered", {})
    return register_adapter


def test_an_adapter_of_ones_own_is_one_function(registered) -> None:
    registered("decay", lambda layer: scan_of(layer.decay) if isinstance(layer, Decay) else None)
    x = torch.randn(1, 20, 3)
    model = Model(own=Decay(), lru=foreign.LRU(H, 4)).eval()
    wanted = model(x)
    model, swaps = swap_layers(model, (x,))
    assert [(swap.layer, swap.adapter) for swap in swaps] == [
        ("inside.blocks.own", "decay"),
        ("inside.blocks.lru", "lru"),
    ]
    assert torch.allclose(model(x), wanted, atol=1e-5)


def test_it_may_give_several_readings_and_is_asked_before_those_of_ssmc(registered) -> None:
    def adapt(layer):
        if isinstance(layer, foreign.LRU):
            raise Refused("is mine", "leave it")
        readings = (
            (Candidate(f"power {k}", scan_of(layer.decay**k)) for k in (3, 2, 1)) if hasattr(layer, "decay") else None
        )
        return readings

    registered("mine", adapt)
    _, (swap,) = swap_layers(Model(own=Decay()).eval(), (torch.zeros(1, 20, 3),))
    assert swap.convention == "power 1"
    with pytest.raises(ModelError, match=r"SSMC-X05.: inside.blocks.lru: LRU is mine; leave it"):
        swap_layers(Model(lru=foreign.LRU(H, 4)), ())


def test_a_model_that_cannot_be_copied_says_so() -> None:
    model = torch.nn.Linear(3, 2)
    model.generator = (k for k in range(3))
    with pytest.raises(
        ModelError, match=r"SSMC-X01.: Linear: it cannot be copied: TypeError: cannot pickle 'generator'"
    ):
        export_onnx(model, torch.zeros(1, 2, 3), "never.onnx")


class FixedLength(torch.nn.Module):
    """A layer that ssmc knows, in a model that takes 20 steps and no others."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = foreign.LRU(3, 2)

    def forward(self, x):
        if torch.compiler.is_exporting() or x.shape[1] == 20:
            return self.layer(x)
        raise ValueError("20 steps, please")


def test_a_model_of_one_length_is_probed_at_that_length_and_then_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(swapping, "MOST_STEPS", 18)
    model, x = FixedLength().eval(), torch.zeros(1, 20, 3)
    _, (swap,) = swap_layers(FixedLength().eval(), (x,))
    assert swap.error < 1e-4
    why = r"SSMC-X06.: FixedLength: it runs at the example's length 20 only, and fails at 40: test_torch_m.*: Value"
    with pytest.raises(ModelError, match=why):
        export_onnx(model, x, tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("adapt", "code", "why"),
    [
        (lambda layer: 3, "U41", "layer adapter 'mine', added by register_adapter, cannot be used: returns a int"),
        (lambda layer: layer.none, "U41", "cannot be used: fails on a layer of class Linear: AttributeError"),
        (lambda layer: iter(()), "X04", "Linear has no reading"),
        (lambda layer: torch.nn.Linear(9, 9), "X04", r"Linear as a scan \(adapter 'mine'\) fails: RuntimeError: mat1"),
    ],
)
def test_what_is_wrong_with_an_adapter_of_ones_own_is_said(registered, adapt, code, why) -> None:
    registered("mine", adapt)
    with pytest.raises(SsmcError, match=rf"SSMC-{code}.*{why}"):
        swap_layers(torch.nn.Linear(3, 2), (torch.zeros(1, 20, 3),))
