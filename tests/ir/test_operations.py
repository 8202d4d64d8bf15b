"""Every operation of the one list: its ONNX function, its reader and what it computes say the same."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import onnx.helper as oh
import pytest

from ssmc.ir.functions import DOMAIN, OPSET, function_proto, input_names, op_types, operation_of
from ssmc.ir.levels import LEVELS, Level
from ssmc.ir.matrix import Matrix, PartialSum
from ssmc.ir.operations import OPERATIONS, AnyOp, Dequantize, Downsample, Op, Quantize
from ssmc.ir.operations.dequantize import apply_head
from ssmc.ir.operations.operation import Recurrent, Reduction, Stateless
from ssmc.ir.operations.reading import GraphNode
from ssmc.ir.parts import parts_to_constants
from ssmc.ir.program import Program
from ssmc.ir.quant import Codes, QuantType
from ssmc.ir.rounding import IntArray
from ssmc.ir.serialize import program_from_json, program_to_json
from ssmc.verify import run_onnx

ROOT = Path(__file__).resolve().parents[2]
C, G, N, T = 4, 2, 3, 6
NODE_TYPES = [op_type for kind in OPERATIONS for op_type in kind.functions]
Arrays = dict[str, Any]


def scaled(shape: tuple[int, ...], suffix: str = "") -> Arrays:
    """A requantization with room for ties: multiples of 1/4, to codes of 4 bits."""
    numbers = {"gain": 0.5, "step": 2.0, "offset": 0.75, "lo": -8.0, "hi": 7.0}
    return {f"{key}{suffix}": np.full(shape, value) for key, value in numbers.items()}


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).integers(-3, 4, shape).astype(np.float64)


def parts(codes: np.ndarray, suffix: str = "") -> Arrays:
    """The codes converted in one lossy partial sum."""
    whole = codes.astype(np.int64)
    one = np.ones(whole.shape[:2], np.int64)
    part = PartialSum(whole, (0, whole.shape[2]), None, 1, 2 * one, -8 * one, 7 * one, 0 * one)
    return parts_to_constants(Matrix(whole, (part,)), suffix)


def separate(codes: np.ndarray, states: int) -> np.ndarray:
    """One gain for the weights of states, an unrelated one for those of inputs."""
    gain = np.full_like(codes, 0.5)
    gain[..., states:] = np.float32(0.3)
    return gain


def linear() -> Arrays:
    return {"W": weights(3, C), **scaled((3,))}


def kernel(op_type: str) -> Arrays:
    """Two groups of two states, two inputs and one output; one state in delta form, one direct."""
    n, m, p = 2, C // G, 1
    fused = not op_type.startswith("KernelPair")
    rows = n + p if fused else n
    numbers = {"W": weights(G, rows, n + m), **scaled((G, rows))}
    registers = {"keep": (1.0, 0.0), "unit": (4.0, 1.0), "dac_lo": (-4.0, -8.0), "dac_hi": (3.0, 7.0)}
    registers |= {"reg_lo": (-32.0, -8.0), "reg_hi": (31.0, 7.0), "r0": (2.0, -1.0)}
    numbers |= {key: np.tile(np.array(pair), (G, 1)) for key, pair in registers.items()}
    if not fused:
        numbers |= {"W_y": weights(G, p, n + m), **scaled((G, p), "_y")}
    if op_type.endswith("Scales"):
        numbers["gain"] = separate(numbers["W"], n)
        numbers |= {} if fused else {"gain_y": separate(numbers["W_y"], n)}
    if op_type.endswith("PolesParts"):
        numbers |= parts(numbers["W_y"], "_y") | parts(numbers["W"][..., n:], "_b")
        numbers |= scaled((G, n), "_b") | {"per_code_b": np.full((G, n), 3.0)}
    elif op_type.endswith("Parts"):
        numbers |= parts(numbers["W"]) | ({} if fused else parts(numbers["W_y"], "_y"))
    return numbers


EXAMPLES: dict[str, Arrays] = {
    "Quantize": {"scale": np.array([0.25, 0.5, 1.0, 2.0]), "lo": -8.0, "hi": 7.0},
    "Ids": {"hi": 7.0},
    "Linear": linear(),
    "LinearParts": linear() | parts(linear()["W"][None]),
    **{op_type: kernel(op_type) for op_type in NODE_TYPES if op_type.startswith("Kernel")},
    "Table": {"table": np.random.default_rng(5).integers(-8, 8, (C, 16)).astype(np.float64), "lo": -8.0},
    "Product": scaled((C,)),
    "Sum": {key: np.full(C, v) for key, v in (("gain_a", 0.25), ("gain_b", -0.5), ("step", 0.5), ("offset", 0.25))}
    | {"lo": -8.0, "hi": 7.0},
    "Norm": {"centred": 1.0, "epsilon": 0.3, **scaled((C,)), "gain": np.array([3.1, 5.7, -2.9, 7.3])}
    | {"lo": -8.0, "hi": 7.0},
    "Slice": {"start": np.array([1]), "stop": np.array([3])},
    "Mean": {"gain": np.full(C, 0.75), "step": np.full(C, 0.5), "lo": -8.0, "hi": 7.0},
    "Total": {"gain": np.full(C, 0.75), "step": np.full(C, 2.0), "lo": -8.0, "hi": 7.0},
    "Last": {},
    "Largest": {},
    "Concat": {},
    "Downsample": {"k": np.array([4]), "rest": np.array([1]), "gain": np.full(C, 0.75), "step": np.full(C, 0.5)}
    | {"lo": -8.0, "hi": 7.0},
    "SlidingMean": {"width": np.array([3]), "gain": np.full(C, 0.75), "step": np.full(C, 0.5), "lo": -8.0, "hi": 7.0},
    "ExponentialMean": {"unit": np.array(8.0)},
    "DownsamplePick": {"k": np.array([2]), "phase": np.array([1]), "rest": np.array([0])},
    **{op_type: {"scale": np.array([0.5, 0.25, 1.0, 2.0])} for op_type in NODE_TYPES if op_type.startswith("Deq")},
}


def signal_names(op_type: str) -> list[str]:
    return [name for name in input_names(op_type) if name not in EXAMPLES[op_type]]


def signals(op_type: str) -> list[np.ndarray]:
    """Real numbers or ids for the operations that make codes, codes of 4 bits for the others."""
    rng = np.random.default_rng(7)
    if op_type == "Ids":
        return [rng.integers(0, 8, (N, T, 1))]
    if op_type == "Quantize":
        return [(rng.integers(-40, 41, (N, T, C)) / 8).astype(np.float32)]
    return [rng.integers(-8, 8, (N, T, C)) for _ in signal_names(op_type)]


def read(op_type: str) -> tuple[Op, Codes | None]:
    kind = operation_of(op_type)
    types = () if issubclass(kind, Quantize) else (Codes(C, QuantType(-8, 7, np.ones(())), "step"),) * 2
    names = tuple(signal_names(op_type))
    constants = {key: np.asarray(value, np.float64) for key, value in EXAMPLES[op_type].items()}
    features = 1 if op_type == "Ids" else C
    return kind.read(GraphNode(op_type, "it", names, "out", types[: len(names)], constants, features))


def as_defined(op_type: str, xs: list[np.ndarray]) -> np.ndarray:
    """What onnxruntime makes of the function."""
    integer = operation_of(op_type).integer_constants
    kinds = {"index": np.int64, "whole": np.bool_} | dict.fromkeys(integer, np.int64)
    values = {
        key: np.asarray(value, kinds.get(key.removesuffix("_y").removesuffix("_b"), np.float64))
        for key, value in EXAMPLES[op_type].items()
    }
    real = issubclass(operation_of(op_type), Quantize)
    values |= {n: x if real else x.astype(np.float64) for n, x in zip(signal_names(op_type), xs, strict=True)}
    proto = function_proto(op_type)
    names, outputs = input_names(op_type), [f"out{i}" for i in range(len(proto.output))]
    dtypes = {name: oh.np_dtype_to_tensor_dtype(values[name].dtype) for name in names}
    inputs = [oh.make_tensor_value_info(name, dtypes[name], values[name].shape) for name in names]
    node = oh.make_node(op_type, list(names), outputs, domain=DOMAIN)
    graph = oh.make_graph([node], "one", inputs, [onnx.ValueInfoProto(name="out0")])
    opsets = [oh.make_opsetid("", OPSET), oh.make_opsetid(DOMAIN, 1)]
    return run_onnx(oh.make_model(graph, opset_imports=opsets, ir_version=10, functions=[proto]), values)[0]


def as_computed(op: Op, xs: list[IntArray]) -> np.ndarray:
    """What the program makes of whole sequences."""
    if isinstance(op, Stateless):
        return op.apply(*xs)
    if isinstance(op, Reduction):
        return op.reduce(*xs)
    if isinstance(op, Downsample):
        return op.whole(*xs)
    if isinstance(op, Recurrent):
        register, outputs = op.start(N), []
        for t in range(T):
            register, y = op.advance(register, xs[0][:, t])
            outputs.append(y)
        return np.stack(outputs, 1)
    assert isinstance(op, Dequantize)
    return apply_head(op.head, op.leave(xs[0]))


def test_the_closed_union_is_the_list() -> None:
    assert get_args(AnyOp) == OPERATIONS
    assert len({kind.__name__ for kind in OPERATIONS}) == len(OPERATIONS)
    assert len(NODE_TYPES) == len(set(NODE_TYPES))


def test_every_node_type_on_codes_has_an_example() -> None:
    assert set(EXAMPLES) == set(NODE_TYPES)


@pytest.mark.parametrize("op_type", NODE_TYPES)
def test_the_function_and_the_operation_read_from_it_give_the_same(op_type: str) -> None:
    xs = signals(op_type)
    op, codes = read(op_type)
    assert type(op) is operation_of(op_type)
    ours, theirs = as_computed(op, xs), as_defined(op_type, xs)
    if op_type in ("DequantizeSoftmax", "DequantizeLogSoftmax"):  # float32 in onnxruntime
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    else:
        assert np.array_equal(ours, theirs)
    assert len(np.unique(ours)) > 2
    if codes is not None:
        assert codes.quant.lo <= ours.min()
        assert ours.max() <= codes.quant.hi
        assert codes.size == ours.shape[-1]
        assert (codes.rate == "sequence") == isinstance(op, Reduction) == (ours.ndim == 2)


@pytest.mark.parametrize("op_type", NODE_TYPES)
def test_a_node_type_is_legal_from_its_first_level_on(op_type: str) -> None:
    assert op_type in op_types()
    first = Level(operation_of(op_type).functions[op_type].since)
    legal = {level for level in Level if op_type in LEVELS[level][0]}
    fused = op_type in ("KernelPair", "KernelPairScales")
    gone = {Level.FUSED} if fused else set()  # the fuse pass leaves none, a target may place them
    assert legal == {level for level in Level if level.reaches(first)} - gone
    assert Level.FOLDED.reaches(first) or first in (Level.FUSED, Level.PLACED)


@pytest.mark.parametrize("op_type", NODE_TYPES)
def test_an_operation_survives_serialization(op_type: str) -> None:
    op, _ = read(op_type)
    written, arrays = program_to_json(Program("x", C, "out", C, (op,), {}))
    (back,) = program_from_json(written, arrays).ops
    assert type(back) is type(op)
    assert written["ops"][0]["op"] == type(op).__name__
    xs = signals(op_type)
    assert np.array_equal(as_computed(back, xs), as_computed(op, xs))


@pytest.mark.parametrize("op_type", [t for t in NODE_TYPES if operation_of(t).functions[t].since == "folded"])
def test_what_pruning_keeps_computes_what_was_kept(op_type: str) -> None:
    """Demand of one output channel: with only the demanded channels, that channel is unchanged."""
    op, codes = read(op_type)
    if codes is None or isinstance(op, Quantize):
        return
    kind, c = type(op), {key: np.asarray(v, np.float64) for key, v in EXAMPLES[op_type].items()}
    xs = signals(op_type)
    assert kind.channels(c, [C] * len(xs)) == codes.size
    wanted = np.arange(codes.size) == codes.size - 1
    out, sources = kind.demand(c, wanted, [np.zeros(C, bool) for _ in xs])
    new = c | kind.narrowed(c, out, sources[0])
    size = int(sources[0].sum())
    types = (Codes(size, QuantType(-8, 7, np.ones(())), "step"),) * len(xs)
    narrow, _ = kind.read(GraphNode(op_type, "it", tuple(signal_names(op_type)), "out", types, new, C))
    kept = as_computed(narrow, [x[..., mask] for x, mask in zip(xs, sources, strict=True)])
    assert out[wanted].all()
    assert np.array_equal(kept, as_computed(op, xs)[..., out])


#: Who names an operation outside its own file: rules that fold it, and the emitters of the targets. One more file
#: here is one more place that a new operation has to touch.
EMITTERS = {
    "ssmc/folding/emit.py",
    "ssmc/emit_c/emit.py",
    "targets/integer/integer_onnx.py",
    "targets/aimc/tiles/assemble.py",
}
TILES = "targets/aimc/tiles/instructions.py"
ELEMENTWISE = "ssmc/emit_c/elementwise.py"
RULES = "ssmc/folding/rules.py", "ssmc/folding/elementwise.py"
NAMED_IN = {
    "Norm": {*EMITTERS, TILES, "ssmc/folding/elementwise.py", "ssmc/folding/norm_rules.py", "ssmc/emit_c/norm.py"}
    | {"targets/integer/integer_functions.py"},  # the ONNX function of int64 operations
    "Sum": {*EMITTERS, TILES, ELEMENTWISE, *RULES, "ssmc/ir/affine.py"},  # the last: ONNX's own Sum
    "Product": {*EMITTERS, ELEMENTWISE, *RULES},
    "Mean": {
        *EMITTERS,
        TILES,
        "ssmc/folding/elementwise.py",
        "ssmc/folding/pooling_rules.py",
        "ssmc/emit_c/reductions.py",
    },
    "Last": {*EMITTERS, "ssmc/emit_c/reductions.py", "ssmc/emit_c/buffers.py"},
}


HOMES = ("ssmc.ir.operations", "ssmc.folding.signals")


def operations_in(file: Path) -> Iterator[str]:
    """What a file imports from where operations are defined or folded, its attributes, and its strings."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.ImportFrom(module=str(module)) if module.startswith(HOMES):
                yield from (alias.name for alias in node.names)
            case ast.Attribute():
                yield node.attr
            case ast.Constant(value=str(text)):
                yield text


@pytest.fixture(scope="module")
def named() -> dict[str, set[str]]:
    """By file of the compiler outside `ssmc.ir.operations`; ssmc/passes and ssmc/targets are links."""
    tops = [ROOT / "passes", ROOT / "targets", *(p for p in (ROOT / "ssmc").iterdir() if not p.is_symlink())]
    files = {str(file.relative_to(ROOT)): file for top in tops for file in top.rglob("*.py")}
    outside = {name: file for name, file in files.items() if not name.startswith("ssmc/ir/operations/")}
    return {name: set(operations_in(file)) for name, file in outside.items()}


@pytest.mark.parametrize("operation", NAMED_IN)
def test_an_operation_stands_in_one_place(operation: str, named: dict[str, set[str]]) -> None:
    assert {name for name, names in named.items() if operation in names} == NAMED_IN[operation]
