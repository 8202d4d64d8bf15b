"""Token ids: an embedding through every stage and every backend, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from onnx import TensorProto, helper

import ssmc
from ssmc.analysis.qs4d_metrics import uses
from ssmc.bundle.compare import compare_codes
from ssmc.checking.teacher_forced import ForcedCheck
from ssmc.cli import cli
from ssmc.data import Samples
from ssmc.emit_c.emit import emit
from ssmc.errors import ModelError, UsageError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.executor import Executor
from ssmc.ir.operations import Ids, Table
from ssmc.ir.program import Program
from ssmc.native.build import find_compiler
from ssmc.native.executor import Library, NativeExecutor
from ssmc.pipeline import run_pipeline
from ssmc.targets.aimc.target import AimcTarget
from ssmc.targets.integer.integer_onnx import integer_onnx
from ssmc.targets.integer.target import IntegerTarget
from ssmc.verify import run_onnx
from tests.compiling import program_of
from tests.graph_writer import Graph, signed
from tests.graphs import Spec
from tests.graphs_tokens import VOCABULARY, token_model, tokens
from tests.strategies import specs
from tests.targets.c99 import harness

SPEC = Spec(seed=3, form="delta", layers=2)
MOVABLE = replace(SPEC, seed=0)  # poles that --stabilize can move inside
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(specs(per_channel=False))
def test_powers_of_two_free_running(spec: Spec) -> None:
    """No tolerance: every float32 sum of these models is exact."""
    spec = replace(spec, spelling="round") if spec.spelling == "qonnx" else spec
    model, x = token_model(spec), tokens(seed=spec.seed)
    (want,) = run_onnx(model, {"x": x})
    assert np.array_equal(Executor(program_of(model)).run(x), want)


@pytest.mark.parametrize("quantized_table", [True, False], ids=["quantized table", "table, then quantizer"])
@pytest.mark.parametrize("seed", range(4))
def test_free_scales_teacher_forced(quantized_table: bool, seed: int) -> None:
    check = ForcedCheck()
    model = token_model(Spec(seed=seed, free=True, form="delta"), quantized_table=quantized_table)
    run_pipeline(import_model(model), IntegerTarget().pipeline(), oracle=True, after=check.see, judged=check.judged)
    found = check.compare({"x": tokens(seed=seed)[..., None]})
    assert found.compared > 500
    assert (found.wrong, found.unseen) == (0, [])


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("dtype", [TensorProto.INT64, TensorProto.INT32])
def test_ids_of_either_shape_and_type_are_one_program(axes: int, dtype: int) -> None:
    x = tokens()
    want = Executor(program_of(token_model(SPEC))).run(x)
    program = program_of(token_model(SPEC, axes=axes, dtype=dtype))
    for given_x in (x, x[..., None], x.astype(np.int32), x.astype(np.float32)):
        assert np.array_equal(Executor(program).run(given_x), want)


@pytest.fixture(scope="module")
def program() -> Program:
    return program_of(token_model(SPEC))


def test_the_rows_are_stored_as_they_were_trained(program: Program) -> None:
    first, table = program.ops[:2]
    assert isinstance(first, Ids)
    assert isinstance(table, Table)
    stored = next(t for t in token_model(SPEC).graph.initializer if t.name == "table.codes")
    assert np.array_equal(table.table.T, onnx.numpy_helper.to_array(stored))
    (embedding,) = program.embeddings()
    assert embedding is table
    used = next(use for use in uses(program) if use.role == "embedding")
    assert (used.macs, used.looked_up) == (0, VOCABULARY * SPEC.channels)


def test_channels_that_nobody_reads_leave_the_table() -> None:
    for seed in range(40):
        model = token_model(Spec(seed=seed, sparse=True, channels=4, residual=False))
        whole, pruned = program_of(model, "fold-quantization"), program_of(model)
        x = tokens(seed=seed)
        assert np.array_equal(Executor(pruned).run(x), Executor(whole).run(x))
        if next(pruned.embeddings()).table.shape[0] < 4:
            return
    pytest.fail("no model of the kind")


@needs_compiler
def test_c_and_the_fast_executor_run_the_same_codes(program: Program, tmp_path: Path) -> None:
    x = tokens(5, 11)
    samples = Samples(x.reshape(-1, 1), np.arange(6) * 11)
    found = compare_codes(Executor(program), NativeExecutor(program), samples)
    assert (found.differing, found.first) == (0, "")
    state, executor = Executor(program).init(5), Executor(program)
    steps = [executor.step_codes(state, x[:, t, None]) for t in range(11)]
    for name, codes in harness.run(program, x[..., None], tmp_path).items():
        if codes.ndim == 3:
            assert np.array_equal(codes, np.stack([step[name] for step in steps], 1)), name


@needs_compiler
def test_c_limits_an_id_to_the_vocabulary(program: Program) -> None:
    model = emit(program, "net")
    assert f"Inputs are token ids 0..{VOCABULARY - 1}" in model.header
    assert not model.quantizes
    library = Library(model)
    results = []
    for given_id in (VOCABULARY - 1, VOCABULARY, 127):
        memory, y = np.zeros((2, library.state_bytes), np.uint8), np.zeros((1, 3), library.output)
        library.call("glue_init", memory[:1], 1)
        fed = np.array([given_id], library.input)
        library.call("glue_step", memory[:1], memory[1:], 1, fed, np.ones(1, np.uint8), y)
        library.call("glue_finish", memory[:1], 1, y)
        results.append(y.tolist())
    assert results[0] == results[1] == results[2]


def test_integer_onnx_takes_ids(program: Program) -> None:
    x = tokens()
    model = integer_onnx(program)
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.INT64
    assert "Round" not in {node.op_type for node in model.graph.node}
    (got,) = run_onnx(model, {"x": x[..., None]})
    assert np.array_equal(got, Executor(program).run(x).astype(np.float32))


def test_the_ideal_crossbar_runs_the_same_codes() -> None:
    model = token_model(MOVABLE)
    tiled = ssmc.compile(import_model(model), AimcTarget("isaac128"), oracle=False, poles="move")
    x = tokens(4, 7)
    samples = Samples(x.reshape(-1, 1), np.arange(5) * 7)
    found = compare_codes(Executor(tiled.compiled.program), tiled.compiled.executor(), samples)
    assert found.compared > 500
    assert (found.differing, found.first) == (0, "")
    assert np.array_equal(tiled.run(x), Executor(tiled.compiled.program).run(x))


@pytest.mark.parametrize("target", ["int", "c", "aimc"])
def test_a_bundle_runs_a_file_of_ids(target: str, tmp_path: Path) -> None:
    onnx.save(token_model(MOVABLE), tmp_path / "m.onnx")
    x = tokens(6, 8)
    hardware = ["--hardware", "isaac128"] if target == "aimc" else []
    np.savez(tmp_path / "flat.npz", x=x)
    np.savez(tmp_path / "deep.npz", x=x[..., None], lengths=np.full(6, 8))
    np.savez(tmp_path / "wrong.npz", x=x + 1)
    runner, out = CliRunner(), str(tmp_path / "out")
    options = ["-t", target, *hardware, "--stabilize", "-o", out]
    compiled = runner.invoke(cli, ["compile", str(tmp_path / "m.onnx"), *options])
    assert compiled.exit_code == 0, compiled.output
    results = []
    for name in ("flat", "deep"):
        written = str(tmp_path / f"{name}.out.npz")
        done = runner.invoke(cli, ["run", out, "--data", str(tmp_path / f"{name}.npz"), "-o", written])
        assert done.exit_code == 0, done.output
        results.append(np.load(written)["output"])
    assert np.array_equal(results[0], ssmc.load(out).run(x))
    assert np.array_equal(results[0], results[1])
    with pytest.raises(UsageError, match=r"SSMC-D05.*token id 19 is not one of 0\.\.18"):
        ssmc.load(out).run(x + 1)
    refused = runner.invoke(cli, ["run", out, "--data", str(tmp_path / "wrong.npz")])
    assert isinstance(refused.exception, UsageError | SystemExit)


@pytest.mark.parametrize("wrong", [-1, VOCABULARY, 1 << 40, 0.5])
def test_a_number_that_is_no_id_is_refused_where_it_counts(program: Program, wrong: float) -> None:
    x = tokens(2, 6).astype(np.float64)
    x[1, 4] = wrong
    executors = [Executor(program)] + ([NativeExecutor(program)] if find_compiler() else [])
    for executor in executors:
        with pytest.raises(UsageError) as refused:
            executor.run(x)
        assert refused.value.code == "SSMC-D05"
        with pytest.raises(UsageError):
            executor.step(executor.init(2), x[:, 4:5])
        cut = x.copy()
        cut[1, 4:] = 0
        assert np.array_equal(executor.run(x, [6, 4]), executor.run(cut, [6, 4]))  # padding may hold anything


def broken(kind: str) -> onnx.ModelProto:
    g = Graph()
    table = g.const(np.arange(6.0).reshape(3, 2))
    if kind == "real":
        h = g.op("Mul", g.op("Cast", "x", to=TensorProto.FLOAT), g.const(2.0))
    elif kind == "two tables":
        other = g.const(np.arange(8.0).reshape(4, 2))
        rows = [g.quant(g.op("Gather", t, "x"), signed(8, 1.0), f"q{i}") for i, t in enumerate((table, other))]
        h = g.op("Add", *rows)
    else:
        rows = g.op("Gather", g.const(np.arange(6.0).reshape(3, 2) % 3), "x")
        h = g.op("Gather", table, g.op("Cast", g.quant(rows, signed(8, 1.0), "q"), to=7))
    model = g.finish(1, g.quant(h, signed(8, 1.0), "y"), ["batch", "time", "a", "b"][: 4 if kind == "computed" else 3])
    shape = ["batch", "time", 1] if kind == "real" else ["batch", "time"]
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("x", TensorProto.INT64, shape))
    return model


@pytest.mark.parametrize(
    ("kind", "fact"),
    [
        ("real", "stands between an unquantized value"),
        ("two tables", "tables of 3 and 4 rows"),
        ("computed", "a cast to INT64 changes values"),
    ],
)
def test_anything_else_that_reads_ids_is_refused_by_node(kind: str, fact: str) -> None:
    with pytest.raises(ModelError, match=fact) as refused:
        program_of(broken(kind))
    assert refused.value.node
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("dtype", "shape", "fact"),
    [
        (TensorProto.INT64, ["batch", "time", 2], "token ids has shape"),
        (TensorProto.INT64, ["batch"], "token ids has shape"),
        (TensorProto.BOOL, ["batch", "time"], "input has type"),
    ],
)
def test_an_input_that_is_no_sequence_of_ids_is_refused(dtype: int, shape: list[object], fact: str) -> None:
    model = token_model(SPEC)
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("x", dtype, shape))
    with pytest.raises(ModelError, match=fact):
        import_model(model)


def test_every_intermediate_takes_the_same_ids() -> None:
    model = token_model(SPEC)
    for until in (step.name for step in IntegerTarget().pipeline()):
        result = run_pipeline(import_model(model), IntegerTarget().pipeline(), stop_after=until)
        assert result.model.graph.inputs[0].dtype is ir.DataType.INT64


def one_hot(values: np.ndarray, cast: bool, axis: int = -1) -> onnx.ModelProto:
    """Ids as one-hot rows, which a matrix of codes turns into its rows."""
    g = Graph("qdq")
    rows = g.op("OneHot", "x", g.const(VOCABULARY, np.int64), g.const(values, values.dtype.type), axis=axis)
    rows = g.op("Cast", rows, to=TensorProto.FLOAT) if cast else rows
    table = g.weight(np.arange(VOCABULARY * 3).reshape(-1, 3) % 17 - 8, 0.25, "table")
    h = g.quant(g.op("MatMul", rows, table), signed(8, 0.25), "u")
    made = g.finish(1, g.quant(h, signed(8, 0.5), "out"), ["batch", "time", 3])
    made.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.INT64, ["batch", "time"]))
    return made


@pytest.mark.parametrize("axis", [-1, 2])
@pytest.mark.parametrize(
    ("values", "cast"), [(np.array([0, 1], np.float32), False), (np.array([0, 1], np.int64), True)]
)
def test_one_hot_rows_times_a_matrix_are_an_embedding(values: np.ndarray, cast: bool, axis: int) -> None:
    proto, x = one_hot(values, cast, axis), tokens()
    program = program_of(proto)
    assert any(isinstance(op, Table) for op in program.ops)
    assert np.array_equal(Executor(program).run(x), run_onnx(proto, {"x": x})[0])


def test_ids_compared_with_all_numbers_are_one_hot_rows() -> None:
    """What torch writes for ``one_hot(x, n).float() @ W``."""
    proto, x = one_hot(np.array([0, 1], np.float32), False), tokens()
    (node,) = (n for n in proto.graph.node if n.op_type == "OneHot")
    axis, numbers = np.array([-1]), np.arange(VOCABULARY)
    added = {"last": axis, "numbers": numbers}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in added.items())
    chain = [
        helper.make_node("Unsqueeze", ["x", "last"], ["column"]),
        helper.make_node("Equal", ["column", "numbers"], ["same"]),
        helper.make_node("Cast", ["same"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Cast", ["whole"], list(node.output), to=TensorProto.FLOAT),
    ]
    others = [n for n in proto.graph.node if n is not node]
    del proto.graph.node[:]
    proto.graph.node.extend([*chain, *others])
    assert np.array_equal(Executor(program_of(proto)).run(x), run_onnx(proto, {"x": x})[0])


@pytest.mark.parametrize("dims", [(2, 9), ("batch", 9), (2, "time"), (1, 9, 1)])
def test_ids_of_a_declared_size_that_is_not_built_in(dims: tuple[str | int, ...]) -> None:
    proto, x = one_hot(np.array([0, 1], np.float32), False), tokens()
    free = onnx.ModelProto()
    free.CopyFrom(proto)
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.INT64, dims))
    if len(dims) == 3:
        (node,) = (n for n in proto.graph.node if n.op_type == "OneHot")
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2]), "third"))
        proto.graph.node.insert(0, helper.make_node("Squeeze", ["x", "third"], ["ids"]))
        node.input[0] = "ids"
    assert np.array_equal(Executor(program_of(proto)).run(x), run_onnx(free, {"x": x})[0])


def test_one_hot_rows_of_other_values_are_looked_up() -> None:
    """2 where the id is and -1 elsewhere, quantized, then multiplied."""
    g = Graph("qdq")
    rows = g.op("OneHot", "x", g.const(VOCABULARY, np.int64), g.const(np.array([-1, 2], np.float32)))
    table = g.weight(np.arange(VOCABULARY * 3).reshape(-1, 3) % 5 - 2, 0.25, "table")
    h = g.op("MatMul", g.quant(rows, signed(8, 1.0), "rows"), table)
    proto = g.finish(1, g.quant(h, signed(8, 0.5), "out"), ["batch", "time", 3])
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.INT64, ["batch", "time"]))
    x = tokens()
    assert np.array_equal(Executor(program_of(proto)).run(x), run_onnx(proto, {"x": x})[0])
