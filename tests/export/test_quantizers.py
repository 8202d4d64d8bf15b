"""Every spelling of a quantizer in standard ONNX computes q = clip(round_half_even(x / scale), lo, hi) * out_scale."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

torch = pytest.importorskip("torch")

from ssmc.export.quantizers import container  # noqa: E402 - after the torch skip
from ssmc.export.torch_export import to_ir  # noqa: E402

GRID = torch.linspace(0.5, 1.5, 40).reshape(5, 8)
HALVES = torch.arange(-120, 120).reshape(2, 3, 5, 8) / 2.0  # (batch, time, channel, state), ties included

CASES = [
    ("int8", 0.5, 0.5, -128, 127, ["QuantizeLinear", "DequantizeLinear"]),
    ("codes", 0.5, 1.0, -128, 127, ["QuantizeLinear", "DequantizeLinear"]),
    ("four bits", 1.0, 1.0, -8, 7, ["QuantizeLinear", "Clip", "DequantizeLinear"]),
    ("unsigned", 0.25, 0.25, 0, 255, ["QuantizeLinear", "DequantizeLinear"]),
    ("three unsigned bits", 1.0, 1.0, 0, 7, ["QuantizeLinear", "Clip", "DequantizeLinear"]),
    ("twelve bits", 0.01, 0.01, -2048, 2047, ["Div", "Round", "Clip", "Mul"]),
    ("sixteen bits", 0.01, 0.01, -32768, 32767, ["QuantizeLinear", "DequantizeLinear"]),
    ("ternary", 1.0, 1.0, -1, 1, ["QuantizeLinear", "Clip", "DequantizeLinear"]),
    ("per channel", [0.5, 1, 2, 4, 0.5, 1, 2, 4], 1.0, -8, 7, ["QuantizeLinear", "Clip", "DequantizeLinear"]),
    (
        "per channel and state", GRID, 1.0, -128, 127, ["Div", "QuantizeLinear", "DequantizeLinear"]
    ),
]  # fmt: skip


class Quantizers(torch.nn.Module):
    """Every case on the same input, one output each."""

    def __init__(self) -> None:
        super().__init__()
        for index, (_, scale, out_scale, *_rest) in enumerate(CASES):
            self.register_buffer(f"scale{index}", torch.as_tensor(scale, dtype=torch.float32))
            self.register_buffer(f"out{index}", torch.as_tensor(out_scale, dtype=torch.float32))

    def forward(self, x):
        return tuple(
            torch.ops.ssmc.fake_quant(x, self.get_buffer(f"scale{index}"), self.get_buffer(f"out{index}"), lo, hi)
            for index, (_, _, _, lo, hi, _) in enumerate(CASES)
        )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "q.onnx"
    graph, _ = to_ir(Quantizers(), (HALVES,))  # of many outputs, which is nothing to compile
    model = ir.to_proto(graph)
    onnx.save(model, path)
    onnx.checker.check_model(model, full_check=True)
    return model, ort.InferenceSession(str(path)).run(None, {"x": HALVES.numpy()})


def spelling(model: onnx.ModelProto, name: str) -> list[str]:
    """Operators from the input to the value ``name``."""
    producers = {output: node for node in model.graph.node for output in node.output}
    chain: list[str] = []
    while name in producers:
        chain.insert(0, producers[name].op_type)
        name = producers[name].input[0]
    return chain


@pytest.mark.parametrize("index", range(len(CASES)), ids=[case[0] for case in CASES])
def test_spelling_and_numbers(exported, index):
    model, outputs = exported
    assert spelling(model, model.graph.output[index].name) == CASES[index][-1]
    assert np.array_equal(outputs[index], Quantizers()(HALVES)[index].numpy())


@pytest.mark.parametrize(
    ("lo", "hi", "dtype"),
    [(-1, 1, np.int8), (0, 1, np.int8), (0, 255, np.uint8), (-129, 0, np.int16), (0, 65535, np.uint16)],
)
def test_the_container_is_the_smallest_that_holds_the_codes(lo, hi, dtype):
    assert container(lo, hi) is dtype


def test_codes_beyond_sixteen_bits_are_refused():
    with pytest.raises(ValueError, match="fit no 16-bit type"):
        container(-40000, 40000)
