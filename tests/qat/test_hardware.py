"""A model that is trained for a crossbar computes what the crossbar's lowered graph computes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import ssmc  # noqa: E402 - after the torch skip
from ssmc.data import Samples  # noqa: E402
from ssmc.errors import SsmcWarning  # noqa: E402
from ssmc.export import export_onnx  # noqa: E402
from ssmc.hardware.file import load_hardware  # noqa: E402
from ssmc.ir.executor import Executor  # noqa: E402
from ssmc.qat import S4D, Mode, ModelConfig, QuantConfig, QuantLinear, S4DClassifier, calibrate, set_mode  # noqa: E402
from ssmc.qat.cells import CellNoise, Held, live_states  # noqa: E402
from ssmc.qat.cells import lowered as reduced_states  # noqa: E402
from ssmc.targets.aimc.lowering.partial_sums import lower  # noqa: E402
from ssmc.targets.aimc.lowering.recorded_inputs import recorded_inputs  # noqa: E402
from ssmc.targets.aimc.target import AimcTarget  # noqa: E402


def chip(bits: int, **adc):
    hw = load_hardware("taox64")
    return replace(hw, array=replace(hw.array, count=0), adc=replace(hw.adc, bits=bits, **adc))


def signal(items: int, length: int, seed: int = 0):
    return torch.randn(items, length, 3, generator=torch.Generator().manual_seed(seed))


def untrained(quant: QuantConfig, **options):
    """For weights and steps of another model."""
    model = S4DClassifier(ModelConfig(3, 5, d_model=4, d_state=6, quant=quant, **options)).eval()
    set_mode(model, Mode.QUANTIZED)
    return model


def calibrated(quant: QuantConfig, **options):
    torch.manual_seed(0)
    model = untrained(quant, **options)
    calibrate(model, [signal(4, 40, 1)])
    return model


def lowered(path, hw):
    return ssmc.compile(path, AimcTarget(hw), oracle=False).compiled


CONVERTERS = [
    *((bits, step, True) for bits in (6, 5, 4) for step in ("per_column", "per_adc", "per_array")),
    *((5, step, False) for step in ("per_column", "per_array")),
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Weights and integer program for all: converters are no part of them."""
    path = tmp_path_factory.mktemp("hardware") / "m.onnx"
    model = calibrated(QuantConfig())
    export_onnx(model, signal(1, 5), path)
    return model.state_dict(), ssmc.compile(path, oracle=False).compiled.program


@pytest.mark.parametrize(("bits", "step", "offset"), CONVERTERS)
def test_the_model_is_the_lowered_program(exported, bits, step, offset):
    weights, program = exported
    hw = chip(bits, step=step, offset=offset)
    model = untrained(QuantConfig(hardware=hw))
    model.load_state_dict(weights)
    found = AimcTarget(hw).emit(program)
    assert any(plan.kind == "lossy" for plan in found.lowered.plans.values())
    x = signal(3, 32, seed=5)  # means of 32 steps are exact
    expected = Executor(found.lowered.program).run(x.numpy())
    assert np.array_equal(model(x).detach().numpy(), expected)
    assert not np.array_equal(Executor(found.source).run(x.numpy()), expected)


@pytest.mark.parametrize("step", ["per_column", "per_array"])
def test_ranges_that_data_choose_are_those_of_the_lowered_program(exported, step):
    weights, source = exported
    hw = chip(5, step=step)
    model = untrained(QuantConfig(hardware=hw))
    model.load_state_dict(weights)
    data = Samples(signal(1, 64, 9)[0].numpy(), np.array([0, 30, 64]), None)
    seen = recorded_inputs(source, data)
    matrices = [m for m in model.modules() if isinstance(m, S4D | QuantLinear)]
    for module, drives in zip(matrices, seen.values(), strict=True):
        module.converters.seen = wide(drives, module)
    x = signal(3, 32, seed=5)  # means of 32 steps are exact
    found = lower(source, hw, "analog", seen=seen)
    expected = Executor(found.program).run(x.numpy())
    assert np.array_equal(model(x).detach().numpy(), expected)
    assert not np.array_equal(Executor(lower(source, hw, "analog").program).run(x.numpy()), expected)


@pytest.mark.parametrize("name", ["hermes64", "neurram", "taox64", "array"])
def test_the_cells_of_training_are_those_of_the_lowered_program(exported, name):
    """Codes, and what a converter counts, are those of the file; columns that hold nothing are as they are."""
    weights, program = exported
    hw = chip(8, step="per_array") if name == "array" else load_hardware(name)
    model = untrained(QuantConfig(hardware=hw, device_noise=True))
    model.load_state_dict(weights)
    found = AimcTarget(hw).emit(program).lowered.plans
    written = [m for m in model.modules() if isinstance(m, CellNoise)]
    seen = {}
    for module in written:
        module.always = True
        module.write = kept(module, seen)
    model(signal(1, 5))
    assert len(seen) == len(found)
    for held, plan in zip(seen.values(), found.values(), strict=True):
        live = [np.abs(cells[cells.any(-1)]).sum(-1) for cells in (held.cells, plan.cells)]
        assert np.array_equal(*live)
    assert any(plan.factor for plan in found.values())


def kept(module, seen):
    """The module's own write, and in ``seen`` what the compiler's cells should be."""
    write = module.write

    def keep(codes, behind, states=0):
        whole = reduced_states(codes.detach().double().numpy().astype(np.int64), states)
        seen[module] = Held.of(whole, behind, module.config.hardware)
        return write(codes, behind, states)

    return keep


def wide(drives, module):
    """Drives of a kernel whose dead states were pruned, at the places of the states in torch; elsewhere as they are."""
    if not isinstance(module, S4D):
        return drives
    live = live_states(module.codes()[0].dense().detach().numpy().astype(np.int64), 2 * module.C.shape[1])
    full = np.zeros((len(drives), *live.shape), np.int64)
    for group, mask in enumerate(live):
        full[:, group, mask] = drives[:, group, np.r_[: mask.sum() - 1, drives.shape[2] - 1]]
    return full


def test_widths_are_those_of_the_file_and_flags_override():
    hw = chip(5)
    small = replace(hw, cell=replace(hw.cell, levels=16))
    found = QuantConfig.for_hardware(small)
    assert (found.kernel_bits, found.weight_bits, found.adc_bits, found.converter_bits) == (5, 5, 5, 5)
    assert (found.state_dac_bits, found.activation_bits, found.input_bits, found.output_bits) == (8, 8, 8, 5)
    assert QuantConfig.for_hardware(small, slices=2).kernel_bits == 8
    assert QuantConfig.for_hardware(small, kernel_bits=4, adc_bits=6).adc_bits == 6
    mixed = QuantConfig.for_hardware(small, form="mixed")
    assert mixed.state_dac_bits == mixed.adc_bits == 5


def test_a_preset_and_a_toml_file_name_hardware(tmp_path):
    path = tmp_path / "isaac.toml"
    path.write_text('hardware = "isaac128"\nactivation_bits = 6\n')
    found = QuantConfig.from_toml(path)
    assert (found.kernel_bits, found.activation_bits, found.state_dac_bits) == (3, 6, 8)


def test_a_model_with_the_widths_of_the_hardware_needs_no_lossy_conversion(tmp_path):
    hw = chip(5)
    model = calibrated(QuantConfig.for_hardware(hw))
    export_onnx(model, signal(1, 5), tmp_path / "m.onnx")
    found = lowered(tmp_path / "m.onnx", hw)
    assert {plan.kind for plan in found.lowered.plans.values()} == {"single"}
    x = signal(3, 32, seed=5)  # means of 32 steps are exact
    assert np.array_equal(model(x).detach().numpy(), Executor(found.lowered.program).run(x.numpy()))


def test_training_meets_the_converters_and_learns_through_them():
    model = calibrated(QuantConfig(hardware=chip(4, step="per_array"))).train()
    before = model(signal(2, 20)).detach()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for seed in range(3):
        optimizer.zero_grad()
        model(signal(4, 20, seed)).square().sum().backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)
        optimizer.step()
    assert float(model(signal(2, 20)).detach().square().sum()) < float(before.square().sum())


def test_what_partial_conversions_lose_is_said_to_be_left_out():
    with pytest.warns(SsmcWarning, match="isaac128: a column takes several conversions"):
        calibrated(QuantConfig.for_hardware("isaac128"))(signal(1, 5))
