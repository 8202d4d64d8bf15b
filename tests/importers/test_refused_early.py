"""What no pass can compile is refused when the model is imported, with the cause and a remedy."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from ssmc import trial
from ssmc.errors import ModelError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.executor import Executor
from ssmc.verify import run_onnx
from tests.compiling import program_of
from tests.graph_writer import Graph
from tests.importers.refusing import CODE, H, end, looped, plain, start
from tests.quantize.floats import float_model


def declined(proto: onnx.ModelProto) -> ModelError:
    with pytest.raises(ModelError) as caught:
        import_model(proto)
    return caught.value


def test_float64_weights() -> None:
    g = Graph()
    wide = g.op("Cast", "x", to=TensorProto.DOUBLE)
    h = g.op("Cast", g.op("Mul", wide, g.const(2.0, np.float64, "gain")), to=TensorProto.FLOAT)
    error = declined(g.finish(2, h, ("batch", "time", 2)))
    assert (error.code, error.node) == ("SSMC-M13", "gain")
    assert "float()" in error.remedy


def test_a_float64_constant_that_is_only_cast() -> None:
    g, u = start()
    half = g.op("Cast", g.const(0.5, np.float64), to=TensorProto.FLOAT)
    model = import_model(end(g, g.op("Mul", u, half)))
    assert "Mul" in {node.op_type for node in model.graph}


def test_float64_that_only_constants_make() -> None:
    g, u = start()
    power = g.op("Exp", g.op("Mul", g.const(-0.5, np.float64), g.const(2.0, np.float64)))
    model = import_model(end(g, g.op("Mul", u, g.op("Cast", power, to=TensorProto.FLOAT))))
    assert "Mul" in {node.op_type for node in model.graph}


def test_dropout_in_training() -> None:
    g, u = start()
    on = "on"
    g.constants[on] = numpy_helper.from_array(np.asarray(True), on)
    h = g.op("Dropout", u, g.const(0.1), on, out="drop")
    error = declined(end(g, h))
    assert (error.code, error.node) == ("SSMC-M09", "drop")
    assert "dropout" in error.fact
    assert "eval()" in error.remedy


def test_random_numbers() -> None:
    g, u = start()
    error = declined(end(g, g.op("Mul", u, g.op("RandomUniformLike", u, out="noise"))))
    assert (error.code, error.node) == ("SSMC-M09", "noise")


def flipped(g: Graph, u: str) -> str:
    ends = [g.const([value], np.int64) for value in (-1, -(1 << 40), 1, -1)]
    return g.op("Slice", u, *ends, out="flip")


def by_lengths(g: Graph, u: str) -> str:
    time = g.op("Shape", u, start=1, end=2)
    lengths = g.op("Expand", time, g.op("Shape", u, start=0, end=1))
    return g.op("ReverseSequence", u, lengths, batch_axis=0, time_axis=1, out="flip")


@pytest.mark.parametrize("flip", [flipped, by_lengths])
def test_a_reversed_sequence(flip: object) -> None:
    g, u = start()
    error = declined(end(g, flip(g, u)))  # type: ignore[operator]
    assert (error.code, error.node) == ("SSMC-T04", "flip")
    assert "bidirectional" in error.remedy


def test_a_scan_that_runs_backwards() -> None:
    error = declined(looped(plain, (H,), scan_input_directions=[1]))
    assert (error.code, error.node) == ("SSMC-T04", "scan")


def test_dropout_that_is_off_is_nothing() -> None:
    g, u = start()
    model = end(g, g.quant(g.op("Dropout", u), CODE, "h"))
    x = np.random.default_rng(0).normal(0, 1, (2, 5, 2)).astype(np.float32)
    assert np.array_equal(Executor(program_of(model)).run(x), run_onnx(model, {"x": x})[0])


@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("every", [3, 20, 100])
def test_a_model_that_takes_some_numbers_of_steps(every: int, batch: int) -> None:
    proto = float_model(every=every, whole=True)
    if batch:
        proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    error = declined(proto)
    assert (error.code, error.node) == ("SSMC-T05", "x")
    assert error.fact == f"it runs only where the number of steps is a multiple of {every}"


def test_numbers_of_steps_are_looked_for_a_second_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "PATIENCE_S", 0.0)
    assert declined(float_model(every=20, whole=True)).code == "SSMC-M05"


def test_numbers_of_steps_that_are_no_multiples() -> None:
    g, u = start()
    rest = g.op("Slice", u, *(g.const([value], np.int64) for value in (1, 1 << 40, 1)))
    groups = g.op("Reshape", rest, g.const([0, -1, 20, H], np.int64))
    error = declined(end(g, g.op("ReduceMean", groups, g.const([2], np.int64), keepdims=0)))
    assert (error.code, error.fact) == ("SSMC-T05", "it runs only where the number of steps is 1, 21, 41, ...")
