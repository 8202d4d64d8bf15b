"""Zeros in front of a convolution, however they are spelled, and convolutions in any number of groups."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from ssmc.data import Samples
from ssmc.errors import ModelError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.build import is_op
from ssmc.ir.executor import Executor
from ssmc.quantize import QuantizeConfig, quantize
from ssmc.verify import run_onnx
from tests.compiling import program_of

SIZE, K = 4, 3
PAD = "p = Pad (t, pads)\n"
#: how the past of x (N, C, T) is filled with K - 1 zeros, then the convolution's attributes
FILLED = {
    "pads": ("p = Identity (t)\n", "pads: ints = [2, 0]"),
    "Pad": (PAD, "pads: ints = [0, 0]"),
    "Pad of an axis": ("p = Pad (t, two, , axis)\n", "pads: ints = [0, 0]"),
    "Concat of zeros": (
        "n = Shape <start: int = 0, end: int = 2> (t)\n size = Concat <axis: int = 0> (n, one)\n"
        "none = ConstantOfShape (size)\n p = Concat <axis: int = 2> (none, t)\n", "pads: ints = [1, 0]",
    ),
    "torch's list": (
        "none = ConstantOfShape <value = int64[1] {0}> (four)\n list = Concat <axis: int = 0> (two, none)\n"
        "pairs = Reshape (list, by_two)\n turned = Slice (pairs, minus, least, first, minus)\n"
        "ends = Transpose <perm: ints = [1, 0]> (turned)\n flat = Reshape (ends, minus)\n"
        "numbers = Cast <to: int = 7> (flat)\n p = Pad (t, numbers)\n", "pads: ints = [0, 0]",
    ),
    "auto_pad VALID": (PAD, 'auto_pad: string = "VALID"'),
}  # fmt: skip


def model(body: str, groups: int, width: int = K, quantized: bool = True) -> onnx.ModelProto:
    def quantizer(name: str, source: str) -> str:
        if not quantized:
            return f"{name} = Identity ({source})"
        return f"{name}_q = QuantizeLinear ({source}, step, zero) {name} = DequantizeLinear ({name}_q, step)"

    proto = onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 21]>
    test (float[batch, time, {SIZE}] x) => (float[batch, steps, {SIZE}] y) {{
      {quantizer("u", "x")} t = Transpose <perm: ints = [0, 2, 1]> (u)
      {body} z = Transpose <perm: ints = [0, 2, 1]> (c)
      {quantizer("y", "z")}
    }}""")
    rng = np.random.default_rng(groups)
    arrays = {
        "W": (rng.integers(-127, 128, (SIZE, SIZE // groups, width)) * 2.0**-7).astype(np.float32),
        "b": (rng.integers(-50, 50, SIZE) * 2.0**-6).astype(np.float32),
        "pads": np.int64([0, 0, width - 1, 0, 0, 0]),
        "two": np.int64([width - 1, 0]),
        "axis": np.int64([2]),
        "one": np.int64([1]),
        "four": np.int64([4]),
        "by_two": np.int64([-1, 2]),
        "minus": np.int64([-1]),
        "least": np.int64([-(2**63) + 1]),
        "first": np.int64([0]),
        "step": np.float32(2.0**-5),
        "zero": np.int8(0),
    }
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    return proto


def signal() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3, 9, SIZE)).astype(np.float32)


@pytest.mark.parametrize("groups", [1, 2, SIZE])
@pytest.mark.parametrize("filled", FILLED)
def test_every_spelling_gives_the_codes_of_onnxruntime(filled: str, groups: int) -> None:
    before, attributes = FILLED[filled]
    proto = model(f"{before} c = Conv <group: int = {groups}, {attributes}> (p, W, b)", groups)
    assert np.array_equal(Executor(program_of(proto)).run(signal()), run_onnx(proto, {"x": signal()})[0])


@pytest.mark.parametrize("filled", FILLED)
def test_a_float_model_is_quantized(filled: str, tmp_path) -> None:
    before, attributes = FILLED[filled]
    proto = model(f"{before} c = Conv <group: int = 2, {attributes}> (p, W, b)", 2, quantized=False)
    onnx.save(proto, tmp_path / "m.onnx")
    x = np.random.default_rng(1).standard_normal((8, 20, SIZE)).astype(np.float32)
    lengths = np.full(len(x), x.shape[1])
    samples = Samples(x.reshape(-1, SIZE), np.concatenate([[0], np.cumsum(lengths)]), None)
    assert quantize(tmp_path / "m.onnx", samples, QuantizeConfig()).fidelity.sqnr_db > 30


@pytest.mark.parametrize("groups", [2, SIZE])
def test_a_convolution_of_one_step_in_groups(groups: int) -> None:
    proto = model(f"c = Conv <group: int = {groups}> (t, W, b)", groups, width=1)
    assert np.array_equal(Executor(program_of(proto)).run(signal()), run_onnx(proto, {"x": signal()})[0])


def test_auto_pad_is_written_out() -> None:
    kept = model('c = Conv <auto_pad: string = "SAME_LOWER"> (t, W, b)', 1, width=2)
    assert np.array_equal(Executor(program_of(kept)).run(signal()), run_onnx(kept, {"x": signal()})[0])
    (conv,) = (n for n in import_model(kept).graph if is_op(n, "Conv"))
    assert "auto_pad" not in conv.attributes
    assert list(conv.attributes["pads"].as_ints()) == [1, 0]
    for kind, fact in (("SAME_LOWER", r"padded by \(1, 1\) looks ahead"), ("SAME_UPPER", "looks ahead")):
        with pytest.raises(ModelError, match=fact) as caught:
            program_of(model(f'c = Conv <auto_pad: string = "{kind}"> (t, W, b)', 1))
        assert caught.value.code == "SSMC-T01"
    with pytest.raises(ModelError, match="pads by the sequence's length") as caught:
        program_of(model('c = Conv <auto_pad: string = "SAME_LOWER", strides: ints = [2]> (t, W, b)', 1))
    assert caught.value.code == "SSMC-T01"
