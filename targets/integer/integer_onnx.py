"""The integer program as an ONNX model of integer operations only, for deployment on onnxruntime.

Between the input's quantization and the output's dequantization every tensor is int64 and every operation is an integer
one, so the codes are those of the reference executor, on any platform, free-running. Token ids enter as int64. What is
refused: partial sums of a crossbar, and a mean whose ratio 64-bit integers cannot hold (ONNX has no wider ones).
"""

from __future__ import annotations

from typing import Any, assert_never

import numpy as np
import onnx
import onnx.helper as oh
from numpy.typing import ArrayLike

from ssmc.errors import ModelError
from ssmc.ir.operations import (
    AnyOp,
    Concat,
    Dequantize,
    Downsample,
    ExponentialMean,
    Ids,
    Last,
    Linear,
    Mean,
    Norm,
    Op,
    Product,
    Quantize,
    Slice,
    SlidingMean,
    StateSpace,
    Sum,
    Table,
)
from ssmc.ir.operations.downsample import RESTS
from ssmc.ir.program import Program
from ssmc.ir.requant import LIMIT, Requant
from ssmc.targets.integer.integer_functions import DOMAIN, OPSET, REQUANT, TABLE, functions_for, kernel_inputs

UNREACHED = (1 << 63) - 1
LEAST_STEPS = 1 << 20

Constants = dict[str, ArrayLike]
REAL, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


class _Builder:
    """Nodes and initializers of the integer graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, array: ArrayLike, dtype: type[np.generic] = np.int64) -> str:
        self.constants.append(onnx.numpy_helper.from_array(np.array(array, dtype=dtype, order="C"), name))
        return name

    def node(self, op_type: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(oh.make_node(op_type, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def function(self, name: str, inputs: list[str], output: str) -> str:
        """Call a function of the domain."""
        return self.node(name, inputs, output, DOMAIN)

    def requant(self, acc: str, op: str, output: str, constants: Constants) -> str:
        keys, name = (TABLE, "RequantTable") if "thresholds" in constants else (REQUANT, "Requant")
        return self.function(name, [acc, *(self.constant(f"{op}.{k}", constants[k], _dtype(k)) for k in keys)], output)


def _dtype(key: str) -> type[np.generic]:
    return np.bool_ if key.startswith("by_table") else np.int64


def integer_onnx(program: Program) -> onnx.ModelProto:
    """The program as an integer ONNX model, input and output as in the original.

    Raises:
        ModelError: SSMC-I01 naming the first operation that integer ONNX operations cannot express.
    """
    builder = _Builder()
    for op in program.ops:
        _emit(op, program, builder)
    given = INT64 if isinstance(program.ops[0], Ids) else REAL
    axes: list[str | int] = ["batch", "time", program.input_size]
    last: list[str | int] = ["batch", "time", program.output_size]
    if program.output_rate == "sequence":
        del last[1]
    graph = oh.make_graph(
        builder.nodes,
        "ssmc_integer",
        [oh.make_tensor_value_info(program.input_name, given, axes)],
        [oh.make_tensor_value_info(program.output_name, REAL, last)],
        builder.constants,
    )
    opsets = [oh.make_opsetid("", OPSET), oh.make_opsetid(DOMAIN, 1)]
    functions = functions_for({node.op_type for node in builder.nodes if node.domain == DOMAIN})
    model = oh.make_model(graph, functions=functions, opset_imports=opsets, ir_version=10, producer_name="ssmc")
    means = [most_steps(op, program) for op in program.ops if isinstance(op, Mean)]
    if means:
        oh.set_model_props(model, {"ssmc.most_steps": str(min(means))})
    onnx.checker.check_model(model)
    return model


def _emit(op: AnyOp, program: Program, b: _Builder) -> None:
    match op:
        case Ids():
            _ids(op, program, b)
        case Quantize():
            _quantize(op, program, b)
        case Linear():
            _linear(op, program, b)
        case StateSpace():
            _kernel(op, program, b)
        case Table():
            _table(op, program, b)
        case Product():
            _product(op, program, b)
        case Sum():
            _sum(op, program, b)
        case Norm():
            _norm(op, program, b)
        case Slice():
            _slice(op, program, b)
        case Concat():
            b.node("Concat", list(op.inputs), op.output, axis=-1)
        case Downsample():
            _downsample(op, program, b)
        case SlidingMean():
            _sliding_mean(op, program, b)
        case ExponentialMean():
            _exponential_mean(op, program, b)
        case Mean():
            _mean(op, program, b)
        case Last():
            _last(op, program, b)
        case Dequantize():
            _dequantize(op, program, b)
        case _:
            assert_never(op)


def refuse(op: Op, fact: str) -> ModelError:
    """The error at an operation."""
    return ModelError("SSMC-I01", fact, "deploy the program with target int or c", op.name)


def requant_constants(requant: Requant, shape: tuple[int, ...], *, table: bool = False) -> Constants:
    """M, b and the divisor (a power of two for shifts) of every output; thresholds where a row, or ``table``, asks."""
    divisor = np.where(requant.shift >= 0, np.int64(1) << np.maximum(requant.shift, 0), np.maximum(requant.divisor, 1))
    numbers = (requant.multiplier, requant.offset, divisor, requant.lo, requant.hi)
    found: Constants = {key: array.reshape(shape) for key, array in zip(REQUANT, numbers, strict=True)}
    if not requant.thresholds and not table:
        return found
    most = max((len(steps) for steps in requant.thresholds.values()), default=1)
    thresholds = np.full((len(requant), most), UNREACHED)
    for row, steps in requant.thresholds.items():
        thresholds[row, : len(steps)] = steps
    sign = np.array([-1 if ratio < 0 else 1 for ratio in requant.ratio])
    by_table = np.isin(np.arange(len(requant)), list(requant.thresholds))
    more = {"thresholds": thresholds.reshape(*shape, most), "sign": sign.reshape(shape)}
    return {**found, **more, "by_table": by_table.reshape(shape)}


def _quantize(op: Quantize, program: Program, b: _Builder) -> None:
    scale = b.constant(f"{op.name}.scale", op.quant.scale, np.float64)
    wide = b.node("Cast", [op.inputs[0]], f"{op.name}.wide", to=onnx.TensorProto.DOUBLE)
    over = b.node("Div", [wide, scale], f"{op.name}.over")
    rounded = b.node("Round", [over], f"{op.name}.rounded")
    ends = [
        b.constant(f"{op.name}.{key}", float(end), np.float64)
        for key, end in (("lo", op.quant.lo), ("hi", op.quant.hi))
    ]
    low = b.node("Max", [rounded, ends[0]], f"{op.name}.low")
    codes = b.node("Min", [low, ends[1]], f"{op.name}.real")
    b.node("Cast", [codes], op.output, to=onnx.TensorProto.INT64)


def _ids(op: Ids, program: Program, b: _Builder) -> None:
    low = b.node("Max", [op.inputs[0], b.constant(f"{op.name}.lo", op.quant.lo)], f"{op.name}.low")
    b.node("Min", [low, b.constant(f"{op.name}.hi", op.quant.hi)], op.output)


def _linear(op: Linear, program: Program, b: _Builder) -> None:
    if op.matrix.is_lowered:
        raise refuse(op, "a matrix lowered to a crossbar's partial sums")
    groups, outputs, inputs = op.matrix.codes.shape
    dense = np.zeros((groups * inputs, groups * outputs), np.int64)
    for g, codes in enumerate(op.matrix.codes):
        dense[g * inputs : (g + 1) * inputs, g * outputs : (g + 1) * outputs] = codes.T
    acc = b.node("MatMul", [op.inputs[0], b.constant(f"{op.name}.W", dense)], f"{op.name}.acc")
    b.requant(acc, op.name, op.output, requant_constants(op.requant, (groups * outputs,)))


def _kernel(op: StateSpace, program: Program, b: _Builder) -> None:
    matrices = [(op.matrix, op.requant)]
    if op.output_matrix is not None and op.output_requant is not None:
        matrices.append((op.output_matrix, op.output_requant))
    if any(matrix.is_lowered for matrix, _ in matrices):
        raise refuse(op, "a kernel lowered to a crossbar's partial sums")
    table = any(requant.thresholds for _, requant in matrices)
    arrays: Constants = {
        "keep": op.keep, "unit": np.int64(1) << op.shift, "dac_lo": op.dac_lo, "dac_hi": op.dac_hi,
        "reg_lo": op.register_lo, "reg_hi": op.register_hi, "r0": op.register0, "zero_offset": 0,
    }  # fmt: skip
    for suffix, (matrix, requant) in zip(("", "_y"), matrices, strict=False):
        numbers = requant_constants(requant, (matrix.groups, matrix.outputs), table=table)
        arrays |= {f"W{suffix}": matrix.wide, **{f"{key}{suffix}": array for key, array in numbers.items()}}
    pair = ("PairAfter" if op.output_after else "Pair") if len(matrices) > 1 else ""
    kind = f"Kernel{pair}{'Table' if table else ''}"
    inputs = [b.constant(f"{op.name}.{key}", arrays[key], _dtype(key)) for key in kernel_inputs(kind)]
    b.function(kind, [op.inputs[0], *inputs], op.output)


def _norm(op: Norm, program: Program, b: _Builder) -> None:
    """``edges[k]`` counts how often the variance can be quadrupled below 2^62; that scales it into [2^60, 2^62)."""
    count = np.arange(32, dtype=np.int64)
    arrays: Constants = {
        "channels": program.values[op.inputs[0]].size, "centred": int(op.centred), "epsilon": op.epsilon,
        "gain": op.gain, "offset": op.offset, "divisor": np.int64(1) << op.shift, "lo": op.lo, "hi": op.hi,
        "edges": np.int64(1) << (62 - 2 * count[1:]), "squares": np.int64(1) << np.minimum(2 * count, 62),
        "units": np.int64(1) << (33 - count),
    }  # fmt: skip
    b.function("Norm", [op.inputs[0], *(b.constant(f"{op.name}.{key}", v) for key, v in arrays.items())], op.output)


def _table(op: Table, program: Program, b: _Builder) -> None:
    rows, levels = op.table.shape
    start = np.arange(rows) * levels - op.lo
    index = b.node("Add", [op.inputs[0], b.constant(f"{op.name}.start", start)], f"{op.name}.index")
    b.node("Gather", [b.constant(f"{op.name}.table", op.table.ravel()), index], op.output)


def _product(op: Product, program: Program, b: _Builder) -> None:
    acc = b.node("Mul", list(op.inputs), f"{op.name}.acc")
    b.requant(acc, op.name, op.output, requant_constants(op.requant, (len(op.requant),)))


def _sum(op: Sum, program: Program, b: _Builder) -> None:
    terms = [
        b.node("Mul", [x, b.constant(f"{op.name}.multiplier{i}", op.multiplier[i])], f"{op.name}.term{i}")
        for i, x in enumerate(op.inputs)
    ]
    acc = terms[0]
    for i, term in enumerate(terms[1:]):
        acc = b.node("Add", [acc, term], f"{op.name}.acc{i}")
    divisor = np.int64(1) << op.shift
    b.requant(
        acc, op.name, op.output, {"multiplier": 1, "offset": op.offset, "divisor": divisor, "lo": op.lo, "hi": op.hi}
    )


def _slice(op: Slice, program: Program, b: _Builder) -> None:
    ends = [
        b.constant(f"{op.name}.{key}", [value]) for key, value in (("start", op.start), ("stop", op.stop), ("axis", -1))
    ]
    b.node("Slice", [op.inputs[0], *ends], op.output)


def _mean(op: Mean, program: Program, b: _Builder) -> None:
    """``round(numerator * sum / (denominator * T))``, T 1 for a sum; an empty sequence gives 0, as everywhere."""
    if most_steps(op, program) < LEAST_STEPS:
        raise refuse(op, "a mean's ratio does not fit 64-bit integers over 2^20 steps")
    arrays: Constants = {
        "numerator": [ratio.numerator for ratio in op.ratio], "zero": 0,
        "denominator": [ratio.denominator for ratio in op.ratio], "lo": op.lo, "hi": op.hi, "axis": [1], "one": 1,
    }  # fmt: skip
    name = {key: b.constant(f"{op.name}.{key}", value) for key, value in arrays.items()}
    total = b.node("ReduceSum", [op.inputs[0], name["axis"]], f"{op.name}.total", keepdims=0)
    divisor = name["denominator"]
    if op.how == "mean":
        time = b.node("Shape", [op.inputs[0]], f"{op.name}.time", start=1, end=2)
        steps = b.node("Max", [time, name["one"]], f"{op.name}.steps")
        divisor = b.node("Mul", [steps, divisor], f"{op.name}.divisor")
    b.function("Requant", [total, name["numerator"], name["zero"], divisor, name["lo"], name["hi"]], op.output)


def _downsample(op: Downsample, program: Program, b: _Builder) -> None:
    """Every k-th step, or ``round(numerator * sum / (denominator * m))`` of each group."""
    name = {
        key: b.constant(f"{op.name}.{key}", [value])
        for key, value in (("k", op.k), ("rest", RESTS.index(op.rest)), ("phase", op.phase))
    }
    if op.how == "pick":
        b.function("DownsamplePick", [op.inputs[0], name["k"], name["phase"], name["rest"]], op.output)
        return
    b.function("Downsample", [op.inputs[0], name["k"], name["rest"], *_exact_ratio(op, program, op.k, b)], op.output)


def _sliding_mean(op: SlidingMean, program: Program, b: _Builder) -> None:
    """``round(numerator * sum / (denominator * m))`` of the last m steps; sums from the start must fit too."""
    width = b.constant(f"{op.name}.width", [op.width])
    b.function("SlidingMean", [op.inputs[0], width, *_exact_ratio(op, program, op.width, b)], op.output)


def _exponential_mean(op: ExponentialMean, program: Program, b: _Builder) -> None:
    """A register a channel; what it gives is within the range of the codes."""
    codes = program.values[op.inputs[0]]
    if op.largest_sum((codes.top,)) >= LIMIT:
        raise refuse(op, "the register of an exponentially weighted mean does not fit 64-bit integers")
    numbers = ("unit", 1 << op.shift), ("lo", codes.quant.lo), ("hi", codes.quant.hi)
    names = [b.constant(f"{op.name}.{key}", value) for key, value in numbers]
    b.function("ExponentialMean", [op.inputs[0], *names], op.output)


def _exact_ratio(op: Downsample | SlidingMean, program: Program, most: int, b: _Builder) -> list[str]:
    """Numerator, denominator, lo and hi of the mean of at most ``most`` steps."""
    top = program.values[op.inputs[0]].top
    if max(2 * most * (abs(ratio.numerator) * top + ratio.denominator) for ratio in op.ratio) >= LIMIT:
        raise refuse(op, "the ratio of a mean does not fit 64-bit integers")
    arrays: Constants = {
        "numerator": [ratio.numerator for ratio in op.ratio], "denominator": [ratio.denominator for ratio in op.ratio],
        "lo": op.lo, "hi": op.hi,
    }  # fmt: skip
    return [b.constant(f"{op.name}.{key}", value) for key, value in arrays.items()]


def most_steps(op: Mean, program: Program) -> int:
    """Time steps over which a mean's sums stay within 62 bits."""
    quant = program.values[op.inputs[0]].quant
    top = max(abs(quant.lo), abs(quant.hi))
    return (LIMIT - 1) // max(2 * (abs(ratio.numerator) * top + ratio.denominator) for ratio in op.ratio)


def _last(op: Last, program: Program, b: _Builder) -> None:
    if op.how == "max":
        b.node("ReduceMax", [op.inputs[0], b.constant(f"{op.name}.axis", [1])], op.output, keepdims=0)
    else:
        b.node("Gather", [op.inputs[0], b.constant(f"{op.name}.index", -1)], op.output, axis=1)


def _dequantize(op: Dequantize, program: Program, b: _Builder) -> None:
    wide = b.node("Cast", [op.inputs[0]], f"{op.name}.wide", to=onnx.TensorProto.DOUBLE)
    real = b.node("Mul", [wide, b.constant(f"{op.name}.scale", op.scale, np.float64)], f"{op.name}.real")
    b.node("Cast", [real], op.output, to=onnx.TensorProto.FLOAT)
