"""Channels of different orders with real poles: the same codes everywhere, and no metric counts what is not there."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import ssmc  # noqa: E402 - after the torch skip
from ssmc.analysis.qs4d_metrics import driven_states  # noqa: E402
from ssmc.bundle.compare import compare_codes  # noqa: E402
from ssmc.data import Samples  # noqa: E402
from ssmc.export import export_onnx  # noqa: E402
from ssmc.ir.operations import StateSpace  # noqa: E402
from ssmc.native.build import find_compiler  # noqa: E402
from ssmc.qat import ModelConfig, QuantConfig, S4DClassifier, calibrate  # noqa: E402
from ssmc.qat.poles import Blocks  # noqa: E402

TURNING = torch.tensor([[False, False], [True, False], [True, False], [False, True], [False, False]])
G = torch.tensor([[[1, 0], [0, 0]], [[1, 1], [0, 0]], [[1, 1], [-1, 0]], [[1, 1], [1, 1]], [[1, -1], [1, 0]]]).float()
ORDERS = [1, 2, 3, 4, 3]
FORMS = {
    "delta": QuantConfig(),
    "direct": QuantConfig(form="direct", power_of_two=False),
    "mixed": QuantConfig(form="mixed"),
    "four bits": QuantConfig.uniform(4, 6, form="mixed", power_of_two=False),
}


def model(quant: QuantConfig, layers: int) -> S4DClassifier:
    torch.manual_seed(0)
    config = ModelConfig(3, 4, d_model=5, d_state=4, layers=layers, dt_min=0.05, dt_max=0.5, quant=quant)
    made = S4DClassifier(config).eval()
    for block in made.blocks:
        ssm = block.ssm
        w = torch.where(TURNING, 3 * torch.rand(5, 2), 0.5 * torch.randn(5, 2))
        ssm.set_blocks(Blocks(ssm.log_dt, 0.5 * torch.randn(5, 2), w, ssm.C, ssm.D, TURNING, G))
    calibrate(made, [torch.randn(4, 60, 3)])
    return made


def kernels(bundle) -> list[StateSpace]:
    return [op for op in bundle.compiled.program.ops if isinstance(op, StateSpace)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Model and file by form, each exported once; in delta form two layers, each of which takes seconds."""
    folder = tmp_path_factory.mktemp("orders")

    @cache
    def make(name):
        made = model(FORMS[name], layers=2 if name == "delta" else 1)
        export_onnx(made, torch.zeros(1, 5, 3), folder / f"{name}.onnx")
        return made, folder / f"{name}.onnx"

    return make


@pytest.mark.parametrize("name", FORMS)
def test_orders_one_to_four_have_the_same_codes_everywhere(name, exported):
    quant = FORMS[name]
    trained, path = exported(name)
    x = np.random.default_rng(0).standard_normal((6, 40, 3)).astype(np.float32)
    integer = ssmc.compile(path, target="int")
    samples = Samples(x.reshape(-1, 3), np.arange(7) * 40)
    for op in kernels(integer):
        live = driven_states(op).sum(1)
        assert (live <= ORDERS).all()  # a coarse grid may round a state away
        assert name != "delta" or live.tolist() == ORDERS
    crossbar = ssmc.compile(path, target="aimc", hardware="taox64")
    compared = compare_codes(integer.compiled.executor(), crossbar.compiled.executor(), samples)
    assert compared.compared > 0
    assert compared.differing == 0
    if find_compiler() is not None:
        c = ssmc.compile(path, target="c")
        wanted = integer.compiled.executor().run(x, samples.lengths)
        assert np.array_equal(c.run(x), integer.run(x))
        assert np.array_equal(integer.compiled.fast_executor(240).run(x, samples.lengths), wanted)
    if quant.power_of_two:
        assert np.array_equal(integer.run(x), trained(torch.from_numpy(x)).detach().numpy())


def test_counts_hold_only_what_lives(exported):
    """65 columns a step: encoder 5, two kernels of the states and 5 outputs, two mixings of 10, decoder 4."""
    _, path = exported("delta")
    bundle = ssmc.compile(path, target="int")
    columns = 5 + 2 * (sum(ORDERS) + 5) + 2 * 10 + 4
    assert [kernel.live_states for kernel in bundle.report.kernels] == [sum(ORDERS)] * 2
    assert bundle.report.metrics["ssmc"]["model"]["adc_bits_per_step"] == 8 * columns
