"""The triton kernels against the compiled CPU loops: the same codes, the same noise, the same gradients.

They run on a GPU, or with TRITON_INTERPRET=1 in triton's interpreter (which needs numpy < 2.4).
"""

from __future__ import annotations

import os

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if not (torch.cuda.is_available() or INTERPRETED):
    pytest.skip("no GPU, and TRITON_INTERPRET is not set", allow_module_level=True)

from ssmc.qat import Mode, ModelConfig, QuantConfig, S4DClassifier, calibrate, gpu, pointwise, set_mode  # noqa: E402
from ssmc.qat.compiled import run_compiled, run_compiled_float  # noqa: E402
from ssmc.qat.kernel import Kernel, real_kernel  # noqa: E402
from tests.qat.cases import layer, random_ssm  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning")  # of the interpreter
DEVICE = "cpu" if INTERPRETED else "cuda"


def followed(run, device, tensors, *others):
    """What ``run`` makes of copies of ``tensors`` on the device, and the gradients of a weighted sum of it; on CPU."""
    torch.manual_seed(3)
    leaves = [x.detach().clone().to(device).requires_grad_() for x in tensors]
    y = run(leaves, *(x.to(device) if isinstance(x, torch.Tensor) else x for x in others))
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(0)).to(device)
    (y * weight).sum().backward()
    return y.detach().cpu(), [x.grad.cpu() for x in leaves]


def close(actual, expected):
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max() + 1e-6))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("noise", [0.0, 0.75])
@pytest.mark.parametrize("form", ["delta", "direct", "mixed"])
def test_codes_equal_those_of_the_cpu_and_gradients_are_alike(form, noise, seed):
    w, ratio, dac_step, keep, ranges, u = layer(seed, form, bits=8 - 2 * seed, power_of_two=bool(seed))
    found = []
    for run, device in ((run_compiled, "cpu"), (gpu.run_on_gpu, DEVICE)):

        def whole(leaves, dac_step, keep, run=run):
            return run(Kernel(*leaves[:4]), leaves[4], dac_step, keep, ranges, leaves[5], noise)

        found.append(followed(whole, device, (w.decay, w.b, w.c, w.d, ratio, u), dac_step, keep))
    (expected, wanted), (actual, gradients) = found
    assert torch.equal(actual, expected)
    assert len(expected.unique()) > 3
    close(gradients, wanted)


def test_the_float_recurrence_is_that_of_the_cpu():
    m = real_kernel(*random_ssm(1), 0)
    tensors = m.decay, m.b, m.c, m.d, torch.randn(5, 70, 3, generator=torch.Generator().manual_seed(1))
    found = [
        followed(lambda leaves, run=run: run(Kernel(*leaves[:4]), leaves[4]), device, tensors)
        for run, device in ((run_compiled_float, "cpu"), (gpu.run_float_on_gpu, DEVICE))
    ]
    (expected, wanted), (actual, gradients) = found
    close([actual, *gradients], [expected, *wanted])


@pytest.mark.parametrize("step", [0.25, 0.3])
def test_a_pointwise_quantizer_rounds_ties_to_even_and_has_the_gradients_of_the_cpu(step):
    x = torch.cat([torch.arange(-40, 40) * 0.125, 10 * torch.randn(3000, generator=torch.Generator().manual_seed(2))])
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(4))
    case, ends = (x, torch.tensor(step), torch.tensor(0.5)), (-8, 7)
    there = [t.to(DEVICE) for t in case]
    assert torch.equal(gpu.quantize(*there, *ends).cpu(), pointwise.quantize(*case, *ends))
    gradients = gpu.gradients(upstream.to(DEVICE), *there, *ends)
    close([g.cpu() for g in gradients], pointwise.gradients(upstream, *case, *ends))


@pytest.mark.skipif(INTERPRETED, reason="the layers take the triton kernels on a GPU alone")
@pytest.mark.parametrize("mode", [Mode.RECURRENT, Mode.QUANTIZED])
def test_a_model_on_the_gpu_is_the_model_on_the_cpu(mode):
    """But for what exp, sin and the sigmoid differ by there, which can turn a rounding."""
    torch.manual_seed(0)
    model = S4DClassifier(ModelConfig(1, 4, d_model=8, d_state=8, layers=2, quant=QuantConfig()))
    x = torch.randn(16, 50, 1)
    calibrate(model, [x])
    set_mode(model, mode)
    expected, actual = model(x).detach(), model.to(DEVICE)(x.to(DEVICE)).detach().cpu()
    spread = float(expected.std())
    assert float((actual - expected).abs().mean()) < 0.02 * spread
