"""What training can configure, through the whole chain: torch, ONNX, integers, C, crossbar."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import ssmc  # noqa: E402 - after the torch skip
from ssmc.bundle.compare import compare_codes  # noqa: E402
from ssmc.data import Samples  # noqa: E402
from ssmc.export import export_onnx  # noqa: E402
from ssmc.ir.operations import StateSpace  # noqa: E402
from ssmc.native.build import find_compiler  # noqa: E402
from ssmc.qat import Mode, ModelConfig, QuantConfig, S4DClassifier, calibrate, set_mode  # noqa: E402
from ssmc.qat.pruning import prune_modes  # noqa: E402

CASES = {
    "mixed": QuantConfig(form="mixed"),
    "mixed, free scales": QuantConfig(form="mixed", power_of_two=False),
    "four bits": QuantConfig.uniform(4, 6, form="mixed", power_of_two=False),
    "ternary and binary": QuantConfig(kernel_bits=4, readout_bits=2, weight_bits=1, coder_bits=2, learned=True),
    "ternary gate": QuantConfig(
        kernel_bits=4, weight_bits=2, gating_bits=1, coder_bits=2, weight_levels="2^b + 1", power_of_two=False
    ),
    "like QS4D": QuantConfig.uniform(6, form="direct", granularity="tensor", clipping="max"),
}


def trained(quant: QuantConfig, modes: int | None = None, layers: int = 2) -> S4DClassifier:
    torch.manual_seed(0)
    config = ModelConfig(3, 5, d_model=4, d_state=8, layers=layers, dt_min=1e-2, dt_max=1.0, quant=quant)
    model = S4DClassifier(config).eval()
    x = [torch.randn(4, 60, 3)]
    if modes:
        prune_modes(model, modes, x)
    calibrate(model, x)
    return model


@pytest.mark.parametrize("name", CASES)
def test_a_trained_configuration_has_the_same_codes_everywhere(name, tmp_path):
    quant = CASES[name]
    model = trained(quant, layers=2 if name == "mixed" else 1)  # a layer takes seconds to export
    x = np.random.default_rng(0).standard_normal((6, 40, 3)).astype(np.float32)
    export_onnx(model, torch.from_numpy(x[:1]), tmp_path / "m.onnx")
    integer = ssmc.compile(tmp_path / "m.onnx", target="int")
    samples = Samples(x.reshape(-1, 3), np.arange(7) * 40)
    crossbar = ssmc.compile(tmp_path / "m.onnx", target="aimc", hardware="taox64")
    compared = compare_codes(integer.compiled.executor(), crossbar.compiled.executor(), samples)
    assert compared.compared > 0
    assert compared.differing == 0
    if find_compiler() is not None:
        fast = integer.compiled.fast_executor(240).run(x, samples.lengths)
        assert np.array_equal(fast, integer.compiled.executor().run(x, samples.lengths))
    if quant.power_of_two:
        assert np.array_equal(integer.run(x), model(torch.from_numpy(x)).detach().numpy())


def test_mixed_form_keeps_slow_modes_in_delta_and_fast_ones_direct():
    model = trained(CASES["mixed"])
    for block in model.blocks:
        delta = block.ssm.kernel(1.0).decay[..., 0].norm(dim=-1)
        assert torch.equal(block.ssm.keep.bool(), delta**2 < 0.5)
        assert 0 < block.ssm.keep.mean() < 1
        assert (block.ssm.shift[block.ssm.keep == 0] == 0).all()


def test_pruned_modes_are_gone_and_the_loudest_stay(tmp_path):
    quant = QuantConfig()
    whole, model = trained(quant, layers=1), trained(quant, modes=2, layers=1)
    assert model.blocks[0].ssm.C.shape == (4, 2, 2)
    lost = []
    for victim in range(4):
        other = trained(quant, layers=1)
        set_mode(other, Mode.RECURRENT)
        set_mode(whole, Mode.RECURRENT)
        kept = torch.tensor([[m for m in range(4) if m != victim]] * 4)
        other.blocks[0].ssm.keep_modes(kept)
        u = torch.randn(4, 60, 4, generator=torch.Generator().manual_seed(1))
        lost.append((whole.blocks[0].ssm(u) - other.blocks[0].ssm(u)).square().sum((0, 1)))
    from ssmc.qat.pruning import mode_energy

    energy = mode_energy(whole.blocks[0].ssm, u)
    torch.testing.assert_close(energy, torch.stack(lost, 1), rtol=1e-3, atol=1e-3)
    export_onnx(model, torch.randn(1, 20, 3), tmp_path / "m.onnx")
    program = ssmc.compile(tmp_path / "m.onnx", target="int").compiled.program
    assert [op.n_state for op in program.ops if isinstance(op, StateSpace)] == [4]
