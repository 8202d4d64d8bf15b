"""Integer inputs, and several inputs side by side: the same codes as the file's own graph on onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import ssmc
from ssmc.data import Samples, load_samples
from ssmc.errors import ModelError, UsageError
from ssmc.importers.onnx_file import file_parts, import_model
from ssmc.quantize import quantize
from ssmc.verify import run_onnx

ARRAYS = {
    "s": np.float32(2**-5), "t": np.float32(2**-3), "zero": np.int8(0), "in_s": np.float32(2**-6),
    "in_z": np.uint8(100), "wide_z": np.int16(-700), "W": np.array([[3, -2], [1, 5], [-4, 2]], np.int8),
    "W_s": np.float32(0.25), "half": np.float32(1 / 64), "order": np.array([0, 2], np.int64),
}  # fmt: skip
OUT = "h_q = QuantizeLinear (h, t, zero) y = DequantizeLinear (h_q, t)"
MATRIX = "V = DequantizeLinear (W, W_s)"


def quantizer(name: str, source: str, scale: str = "s") -> str:
    return f"{name}_q = QuantizeLinear ({source}, {scale}, zero) {name} = DequantizeLinear ({name}_q, {scale})"


def model(inputs: str, body: str, outputs: str = "float[batch, time, 2] y") -> onnx.ModelProto:
    text = f'<ir_version: 10, opset_import: ["" : 21]> test ({inputs}) => ({outputs}) {{ {body} }}'
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in ARRAYS.items())
    return proto


def executor(proto: onnx.ModelProto):
    bundle = ssmc.compile(import_model(proto), target="int")
    return bundle.compiled.program, bundle.compiled.executor()


SMALL = {
    "uint8, cast": ("uint8", f"f = Cast <to: int = 1> (x) g = Mul (f, half) {quantizer('u', 'g')}"),
    "uint8, dequantized": ("uint8", "u = DequantizeLinear (x, in_s, in_z)"),
    "int16, dequantized": ("int16", "u = DequantizeLinear (x, in_s, wide_z)"),
    "int8, transposed before its cast": (
        "int8",
        "a = Transpose <perm: ints = [0, 2, 1]> (x) b = Cast <to: int = 1> (a) "
        f"f = Transpose <perm: ints = [0, 2, 1]> (b) {quantizer('u', 'f', 't')}",
    ),
}


@pytest.mark.parametrize(("kind", "body"), SMALL.values(), ids=SMALL)
def test_an_integer_input_gives_the_codes_of_onnxruntime(kind: str, body: str) -> None:
    proto = model(f"{kind}[batch, time, 3] x", f"{body} {MATRIX} h = MatMul (u, V) {OUT}")
    ends = np.iinfo(kind)
    x = np.random.default_rng(0).integers(ends.min, ends.max + 1, (4, 9, 3)).astype(kind)
    _, run = executor(proto)
    assert np.array_equal(run.run(x), run_onnx(proto, {"x": x})[0])


def test_arithmetic_on_integers_is_refused_with_its_node() -> None:
    proto = model("uint8[batch, time, 3] x", f"a = Add (x, x) f = Cast <to: int = 1> (a) {quantizer('y', 'f')}")
    with pytest.raises(ModelError, match="cast the input to float32") as caught:
        import_model(proto)
    assert caught.value.code == "SSMC-M06"


THREE = "float[batch, time, 1] a, float[batch, time, 2] b"
JOINED = {
    "joined, then quantized": (THREE, f"x = Concat <axis: int = -1> (b, a) {quantizer('u', 'x')}", ("b", "a")),
    "each quantized, then joined": (
        THREE,
        f"{quantizer('p', 'a', 's')} {quantizer('q', 'b', 't')} u = Concat <axis: int = 2> (p, q)",
        ("a", "b"),
    ),
    "bytes and real numbers": (
        "uint8[batch, time, 1] a, float[batch, time, 2] b",
        f"c = Cast <to: int = 1> (a) x = Concat <axis: int = 2> (c, b) {quantizer('u', 'x', 't')}",
        ("a", "b"),
    ),
}


@pytest.mark.parametrize(("inputs", "body", "order"), JOINED.values(), ids=JOINED)
def test_several_inputs_are_the_columns_of_one(inputs: str, body: str, order: tuple[str, ...], tmp_path: Path) -> None:
    proto = model(inputs, f"{body} {MATRIX} h = MatMul (u, V) {OUT}")
    rng, sizes = np.random.default_rng(1), {"a": 1, "b": 2}
    kinds = {"a": np.uint8 if "uint8" in inputs else np.float32, "b": np.float32}
    fed = {key: (rng.normal(size=(3, 8, n)) * 5 + 9).astype(kinds[key]) for key, n in sizes.items()}
    program, run = executor(proto)
    assert program.inputs == tuple((key, sizes[key]) for key in order)
    want = run_onnx(proto, fed)[0]
    assert np.array_equal(run.run(np.concatenate([fed[key] for key in order], -1)), want)
    np.savez(tmp_path / "x.npz", **fed)
    onnx.save(proto, tmp_path / "m.onnx")
    samples = load_samples(tmp_path / "x.npz", inputs=file_parts(tmp_path / "m.onnx"))
    assert np.array_equal(run.run(samples.flat.reshape(3, 8, 3)), want)


def test_an_input_may_have_the_name_of_the_joined_one() -> None:
    body = f"x = Concat <axis: int = 2> (inputs, b) {quantizer('y', 'x', 't')}"
    proto = model("float[batch, time, 1] inputs, float[batch, time, 1] b", body)
    fed = {
        key: np.random.default_rng(i).normal(size=(2, 5, 1)).astype(np.float32) for i, key in enumerate(("inputs", "b"))
    }
    _, run = executor(proto)
    assert np.array_equal(run.run(np.concatenate([*fed.values()], -1)), run_onnx(proto, fed)[0])


def test_inputs_that_are_read_apart_are_taken_apart() -> None:
    body = f"{quantizer('p', 'a')} {quantizer('q', 'b')} h = Add (p, q) {OUT}"
    proto = model("float[batch, time, 2] a, float[batch, time, 2] b", body)
    fed = {key: np.random.default_rng(i).normal(size=(3, 8, 2)).astype(np.float32) for i, key in enumerate("ab")}
    program, run = executor(proto)
    assert program.inputs == (("a", 2), ("b", 2))
    assert np.array_equal(run.run(np.concatenate([*fed.values()], -1)), run_onnx(proto, fed)[0])


def test_a_float_model_of_two_inputs_gets_a_step_for_each(tmp_path: Path) -> None:
    body = "x = Concat <axis: int = 2> (a, b) Z = Cast <to: int = 1> (W) y = MatMul (x, Z)"
    proto = model(THREE, body)
    onnx.save(proto, tmp_path / "m.onnx")
    rng = np.random.default_rng(2)
    fed = {"a": rng.normal(size=(4, 10, 1)) * 100, "b": rng.normal(size=(4, 10, 2)) / 100}
    x = np.concatenate([*fed.values()], -1).astype(np.float32)
    made = quantize(tmp_path / "m.onnx", Samples(x.reshape(-1, 3), np.arange(5) * 10)).model
    (first,) = (node for node in made.graph.node if node.op_type == "QuantizeLinear" and "inputs" in node.input)
    step = next(onnx.numpy_helper.to_array(t) for t in made.graph.initializer if t.name == first.input[1])
    assert step[0] > 1000 * step[1] == 1000 * step[2]
    onnx.save(made, tmp_path / "q.onnx")
    assert file_parts(tmp_path / "q.onnx") == (("a", 1), ("b", 2))
    assert ssmc.compile(tmp_path / "q.onnx", target="int").compiled.program.inputs == (("a", 1), ("b", 2))


WRONG = {
    "one is missing": ({"a": (3, 8, 1)}, "SSMC-D12"),
    "of other lengths": ({"a": (3, 8, 1), "b": (3, 7, 2)}, "SSMC-D13"),
    "of other sizes": ({"a": (3, 8, 2), "b": (3, 8, 1)}, "SSMC-D13"),
}


@pytest.mark.parametrize(("shapes", "code"), WRONG.values(), ids=WRONG)
def test_arrays_that_do_not_fit_the_inputs_are_refused(shapes, code: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{key: np.zeros(shape) for key, shape in shapes.items()})
    with pytest.raises(UsageError) as caught:
        load_samples(tmp_path / "x.npz", inputs=(("a", 1), ("b", 2)))
    assert caught.value.code == code


def test_ragged_sequences_of_several_inputs(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.arange(5.0)[:, None], b=np.zeros((5, 2)), offsets=[0, 2, 5])
    samples = load_samples(tmp_path / "x.npz", inputs=(("b", 2), ("a", 1)))
    assert samples.sequence(1).tolist() == [[0, 0, 2], [0, 0, 3], [0, 0, 4]]
