"""Blocks at lower rates: padding, training, and the exported file through the compiler."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

import ssmc  # noqa: E402
from ssmc.export import export_onnx  # noqa: E402
from ssmc.ir.operations import Downsample  # noqa: E402
from ssmc.qat import Mode, ModelConfig, S4DClassifier, calibrate, lower_rates, set_mode  # noqa: E402
from ssmc.verify import run_onnx  # noqa: E402

RATES = (1, 2, 3)


def small(rates: tuple[int, ...] = RATES, **options) -> S4DClassifier:
    torch.manual_seed(0)
    return S4DClassifier(ModelConfig(3, 5, d_model=4, d_state=4, layers=3, rates=rates, **options)).eval()


def signal(seed: int = 0, length: int = 27) -> torch.Tensor:
    return torch.randn(4, length, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mode", [Mode.FLOAT, Mode.RECURRENT, Mode.QUANTIZED])
@pytest.mark.parametrize("pooling", ["mean", "last", "exponential"])
def test_padding_never_changes_a_result(mode, pooling):
    model = small(pooling=pooling)
    calibrate(model, [signal(1)])
    set_mode(model, mode)
    x, lengths = signal(), torch.tensor([27, 8, 1, 13])
    for item, length, logits in zip(x, lengths, model(x, lengths), strict=True):
        torch.testing.assert_close(model(item[None, :length])[0], logits, rtol=1e-4, atol=1e-5)


def test_a_model_at_lower_rates_trains_and_its_file_has_the_same_codes(tmp_path: Path):
    """One step of training moves every parameter; then torch, the ONNX file and the program agree on any length."""
    model = lower_rates(small(rates=()), RATES)
    calibrate(model, [signal(1)])
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-2)
    lengths = torch.tensor([27, 8, 1, 13])
    torch.nn.functional.cross_entropy(model(signal(), lengths), torch.tensor([0, 1, 2, 3])).backward()
    optimizer.step()
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters() if p.requires_grad)
    path = tmp_path / "slow.onnx"
    export_onnx(model.eval(), signal(), path)
    bundle = ssmc.compile(path, target="int")
    assert [op.k for op in bundle.compiled.program.ops if isinstance(op, Downsample)] == [2, 3]
    file, x = onnx.load(path), signal(2)
    got = bundle.compiled.executor().run(x.numpy(), lengths.numpy())
    for item, length, row in zip(x, lengths, got, strict=True):
        alone = item[None, :length]
        (expected,) = run_onnx(file, {"x": alone.numpy()})
        assert np.array_equal(expected, model(alone).detach().numpy())
        assert np.array_equal(row, expected[0])


def test_lower_rates_keep_the_continuous_system():
    model = small(rates=())
    slow = lower_rates(model, RATES)
    for old, new, period in zip(model.blocks, slow.blocks, (1, 2, 6), strict=True):
        torch.testing.assert_close(new.ssm.log_dt.exp(), old.ssm.log_dt.exp() * period)
        assert torch.equal(new.ssm.A_imag, old.ssm.A_imag)
    held = torch.ones(1, 240, 3)  # what does not change is the same at any rate, once it has settled
    torch.testing.assert_close(slow(held), model(held), rtol=0.1, atol=0.05)
    with pytest.raises(ValueError, match="already"):
        lower_rates(slow, RATES)


def test_one_rate_a_block():
    with pytest.raises(ValueError, match="each of 3 blocks"):
        small(rates=(1, 2))
