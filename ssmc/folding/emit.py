"""Emit the code graph: a quantizer closes a signal into one ``ssmc`` operation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike

from ssmc.errors import ModelError
from ssmc.folding.kernel_weights import kernel_weights
from ssmc.folding.shift_register import read_out, registers
from ssmc.folding.signals import (
    Clamped,
    Coded,
    Convolved,
    Dense,
    Grouped,
    KernelOutput,
    Mapped,
    Mean,
    Mixed,
    Newest,
    Norm,
    Picked,
    Product,
    Raw,
    Signal,
    Sliding,
    Sum,
    Total,
)
from ssmc.ir.build import constant_dtype, node_name, ssmc_node
from ssmc.ir.functions import output_names
from ssmc.ir.grid import factor_rows
from ssmc.ir.operations.downsample import RESTS
from ssmc.ir.quant import Rate
from ssmc.ir.read_program import constants as read_constants
from ssmc.ir.rounding import FloatArray, round_half_even
from ssmc.ir.witness import Witness
from ssmc.recognition.axes import Axes

Constants = dict[str, ArrayLike]


@dataclass(frozen=True)
class Grid:
    """A quantizer: ``code = clip(round(x / step), lo, hi)``, real value ``scale * code``; step and scale (size,)."""

    step: FloatArray
    scale: FloatArray
    lo: int
    hi: int


@dataclass
class Emitter:
    """Collects the nodes and constants of the code graph.

    Attributes:
        source: the model's input value.
        axes: measured roles and shapes of the real graph's values.
        trial: quantizers are not yet what they will be: a function may be undefined at some of their codes.
        exact: False once something had to be approximated.
        applied: names of the quantizers that were closed.
        inputs: codes of the model's input by steps and range.
    """

    source: ir.Value
    axes: Axes
    trial: bool = False
    exact: bool = True
    applied: list[str] = field(default_factory=list)
    nodes: list[ir.Node] = field(default_factory=list)
    constants: dict[str, ir.Value] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    kernels: set[str] = field(default_factory=set)
    ids: tuple[int, ir.Value] | None = None
    inputs: dict[tuple[bytes, int, int], ir.Value] = field(default_factory=dict)
    witnesses: dict[str, list[Witness]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """A fresh input with the old one's name."""
        old = self.source
        self.x = ir.val(str(old.name), dtype=old.dtype, shape=old.shape)

    def witness(self, signal: Coded, tensor: str) -> None:
        """Remember that a tensor of the real graph shows this code value."""
        seen = Witness(tensor, signal.roles, signal.scale, signal.offset)
        self.witnesses.setdefault(str(signal.value.name), []).append(seen)

    def constant(self, name: str, array: ArrayLike, dtype: type[np.generic] = np.float64) -> ir.Value:
        """An initializer of the code graph."""
        unique, count = name, 1
        while unique in self.constants:
            unique, count = f"{name}.{count}", count + 1
        data = np.array(array, dtype=dtype, order="C")
        self.constants[unique] = ir.val(unique, const_value=ir.Tensor(data, name=unique))
        return self.constants[unique]

    def emit(self, op_type: str, name: str, values: dict[str, ir.Value], constants: Constants) -> ir.Value:
        """Append an operation; returns its code value."""
        unique, count = name, 1
        while unique in self.used:
            unique, count = f"{name}.{count}", count + 1
        self.used.add(unique)
        for key, array in constants.items():
            require_finite(array, key, name)
        inputs = values | {
            key: self.constant(f"{unique}.{key}", array, constant_dtype(op_type, key))
            for key, array in constants.items()
        }
        extra = [f"{unique}.{output}" for output in output_names(op_type)[1:]]
        node = ssmc_node(op_type, inputs, unique, extra_outputs=extra)
        self.nodes.append(node)
        return node.outputs[0]

    def close(self, signal: Signal, grid: Grid, name: str) -> Coded:
        """Quantize a signal: one integer operation."""
        if isinstance(signal, Clamped):
            return replace(self.close(signal.source, _clamped(grid, signal, name), name), roles=signal.roles)
        if isinstance(signal, Picked):
            whole = self.close(signal.source, grid, f"{name}.whole")
            return replace(self.picked(whole, signal.k, signal.phase, name), roles=signal.roles)
        if isinstance(signal, Newest):
            every = self.close(signal.source, grid, f"{name}.every")
            return replace(self.last(every, name), roles=signal.roles)
        if not signal.size:
            raise ModelError("SSMC-T02", "the quantized value has no channels", "leave it out of the model", name)
        self.applied.append(name)
        rate: Rate = "step" if any("T" in role for role in signal.roles) else "sequence"
        match signal:
            case Raw():
                value = self._quantize(signal, grid, name)
            case Coded() if _same_grid(signal, grid):
                value = signal.value
            case Coded():
                value = self._coded(signal, grid, name)
            case Mapped():
                value = self._table(signal, grid, name)
            case Dense():
                value = self._dense(signal, grid, name)
            case Product():
                gain = signal.coefficient
                value = self._requant(
                    "Product", {"a": signal.a.value, "b": signal.b.value}, gain, signal.offset, grid, name
                )
            case Sum():
                value = self._sum(signal, grid, name)
            case Grouped():
                group: Constants = {"k": [signal.k], "rest": [RESTS.index(signal.rest)]}
                value = self._mean(signal, grid, name, "Downsample", group)
            case Sliding():
                value = self._mean(signal, grid, name, "SlidingMean", {"width": [signal.width]})
            case Mean():
                value = self._mean(signal, grid, name, "Total" if isinstance(signal, Total) else "Mean")
            case Norm():
                value = self._norm(signal, grid, name)
            case Convolved() | Mixed():
                value = self._convolved(signal, grid, name)
            case KernelOutput():
                value = self.kernel(signal, grid, name)
            case _:
                raise ModelError("SSMC-T02", "the quantized value has no integer form", "simplify the graph", name)
        zero = np.zeros(signal.size)
        return Coded(signal.roles, signal.size, value, grid.lo, grid.hi, grid.scale, zero, rate)

    def _quantize(self, signal: Raw, grid: Grid, name: str) -> ir.Value:
        scale = grid.step / signal.factor
        if not scale.all():
            raise beyond_float64("scale", name)
        key = scale.tobytes(), grid.lo, grid.hi
        if key not in self.inputs:
            given: Constants = {"scale": compact(scale), "lo": grid.lo, "hi": grid.hi}
            self.inputs[key] = self.emit("Quantize", name, {"x": self.x}, given)
        return self.inputs[key]

    def _coded(self, signal: Coded, grid: Grid, name: str) -> ir.Value:
        mapped = signal.mapped()
        if mapped is not None:
            return self._table(mapped, grid, name)
        dense = Dense(
            signal.roles, signal.size, signal, np.eye(signal.size, dtype=np.int64), signal.scale, signal.offset
        )
        return self._dense(dense, grid, name)

    def _table(self, signal: Mapped, grid: Grid, name: str) -> ir.Value:
        step = grid.step[:1] if (grid.step == grid.step[0]).all() else grid.step
        lost = np.isnan(signal.table)
        if lost.any() and not self.trial:
            code = signal.source.lo + int(lost.any(0).argmax())
            fact = f"the function between this quantizer and the one before is undefined at code {code}"
            raise ModelError("SSMC-T02", fact, "limit the range of its input, for example by a ReLU", name)
        table = np.where(lost, 0.0, signal.table)
        codes = np.clip(round_half_even(table / step[:, None]), grid.lo, grid.hi)
        return self.emit("Table", name, {"x": signal.source.value}, {"table": codes, "lo": signal.source.lo})

    def _requant(
        self, op_type: str, values: dict[str, ir.Value], gain: FloatArray, offset: FloatArray, grid: Grid, name: str,
        **more: ArrayLike,
    ) -> ir.Value:  # fmt: skip
        constants: Constants = {
            "gain": gain,
            "step": grid.step,
            "offset": offset / grid.step,
            "lo": grid.lo,
            "hi": grid.hi,
        }
        return self.emit(op_type, name, values, {**more, **constants})

    def _dense(self, signal: Dense, grid: Grid, name: str) -> ir.Value:
        self.exact &= signal.exact
        return self._requant("Linear", {"x": signal.source.value}, signal.gain, signal.offset, grid, name, W=signal.W)

    def _sum(self, signal: Sum, grid: Grid, name: str) -> ir.Value:
        constants: Constants = {
            "gain_a": signal.a.scale, "gain_b": signal.b.scale, "step": grid.step, "offset": signal.offset / grid.step,
            "lo": grid.lo, "hi": grid.hi,
        }  # fmt: skip
        return self.emit("Sum", name, {"a": signal.a.value, "b": signal.b.value}, constants)

    def _mean(self, signal: Mean, grid: Grid, name: str, op_type: str, window: Constants | None = None) -> ir.Value:
        """Over the whole sequence, or over each ``window``."""
        if signal.offset.any():
            fact = "a mean or sum over time plus a constant has no integer form"
            raise ModelError("SSMC-T02", fact, "quantize the mean or sum itself", name)
        constants: Constants = {"gain": signal.coefficient, "step": grid.step, "lo": grid.lo, "hi": grid.hi}
        return self.emit(op_type, name, {"x": signal.source.value}, {**constants, **(window or {})})

    def _norm(self, signal: Norm, grid: Grid, name: str) -> ir.Value:
        scale = float(signal.source.scale[0])
        more = {"centred": float(signal.centred), "epsilon": signal.epsilon / scale**2}
        values = {"x": signal.source.value}
        return self._requant("Norm", values, np.sign(scale) * signal.gain, signal.offset, grid, name, **more)

    def _convolved(self, signal: Convolved | Mixed, grid: Grid, name: str) -> ir.Value:
        if signal.tail:
            raise ModelError("SSMC-T01", "a convolution looks ahead", "keep its first T steps only", name)
        rows, m = read_out(signal)
        size, p, n = len(rows), rows.shape[1], rows.shape[2] - m
        codes, gain = self._grid(rows, name)
        step, offset = grid.step.reshape(size, p), (signal.offset / grid.step).reshape(size, p)
        out: Constants = {"W_y": codes, "gain_y": gain, "step_y": step, "offset_y": offset}
        out |= {"lo_y": np.full((size, p), float(grid.lo)), "hi_y": np.full((size, p), float(grid.hi))}
        moved = registers(size, n, m, signal.source.lo, signal.source.hi)
        return self.emit("KernelPair", name, {"u": signal.source.value}, {**moved, **out})

    def kernel(self, signal: KernelOutput, grid: Grid | None, name: str) -> ir.Value:
        """Two integer matrices per group from a real state-space node; ``grid`` closes an output left open."""
        node = signal.node
        where = node_name(node)
        if where in self.kernels:
            raise ModelError("SSMC-Q06", "the output is quantized twice, differently", "quantize it once", where)
        self.kernels.add(where)
        k = read_constants(node)
        if not k["step"].all():
            raise ModelError("SSMC-Q06", "the state is not quantized", "train with QAT or quantize the model", where)
        groups, states = k["step"].shape
        inputs, outputs = k["W"].shape[2] - states, k["W_y"].shape[1]
        scale = signal.source.scale.reshape(groups, 1, inputs)
        shift = signal.source.offset.reshape(groups, 1, inputs)
        constants: Constants = {key: k[key] for key in _STATE}
        rows = {"": (k["W"], k["offset"]), "_y": (k["W_y"], k["offset_y"])}
        grids = {"": (k["step"], k["lo"], k["hi"]), "_y": (k["step_y"], k["lo_y"], k["hi_y"])}
        if grid is not None:
            factor, offset = (v.reshape(groups, outputs) for v in (signal.factor, signal.offset))
            rows["_y"] = (k["W_y"] * factor[..., None], k["offset_y"] * factor + offset)
            edge = np.ones((groups, outputs))
            grids["_y"] = (grid.step.reshape(groups, outputs), edge * grid.lo, edge * grid.hi)
        weights = kernel_weights({key: matrix for key, (matrix, _) in rows.items()}, scale, states)
        if weights is None:
            raise unquantized_weights(where)
        self.exact &= weights.exact
        for suffix, (matrix, offset) in rows.items():
            step, lo, hi = grids[suffix]
            moved = offset + (matrix[..., states:] * shift).sum(-1)
            constants |= {f"step{suffix}": step, f"offset{suffix}": moved / step, f"lo{suffix}": lo, f"hi{suffix}": hi}
        op_type = "KernelPairAfter" if node.op_type == "StateSpaceAfter" else "KernelPair"
        kind = f"{op_type}Scales" if weights.separate else op_type
        return self.emit(kind, where, {"u": signal.source.value}, weights.constants | constants)

    def _grid(self, matrix: FloatArray, node: str) -> tuple[ArrayLike, FloatArray]:
        found = factor_rows(matrix)
        if found is None:
            raise unquantized_weights(node)
        codes, gain, exact = found
        self.exact &= exact
        return codes, gain

    def tokens(self, vocabulary: int, name: str) -> ir.Value:
        """The ids as codes 0..vocabulary - 1; one operation, whoever reads them.

        Raises:
            ModelError: SSMC-T02 where tables differ in their number of rows.
        """
        if self.ids is None:
            self.ids = vocabulary, self.emit("Ids", f"{name}.ids", {"x": self.x}, {"hi": vocabulary - 1})
        if self.ids[0] != vocabulary:
            fact = f"the same ids are looked up in tables of {self.ids[0]} and {vocabulary} rows"
            raise ModelError("SSMC-T02", fact, "give both tables a row for every id", name)
        return self.ids[1]

    def slice(self, signal: Coded, start: int, stop: int, name: str) -> Coded:
        """Channels start..stop of a code value."""
        value = self.emit("Slice", name, {"x": signal.value}, {"start": [start], "stop": [stop]})
        return replace(
            signal, size=stop - start, value=value, scale=signal.scale[start:stop], offset=signal.offset[start:stop]
        )

    def joined(self, a: Coded, b: Coded, name: str) -> Coded:
        """The channels of both, one after the other."""
        value = self.emit("Concat", name, {"a": a.value, "b": b.value}, {})
        scale, offset = np.concatenate([a.scale, b.scale]), np.concatenate([a.offset, b.offset])
        lo, hi = min(a.lo, b.lo), max(a.hi, b.hi)
        return Coded(a.roles, a.size + b.size, value, lo, hi, scale, offset, a.rate)

    def picked(self, signal: Coded, k: int, phase: int, name: str) -> Coded:
        """Every k-th step of a code value, from step ``phase`` on."""
        constants: Constants = {"k": [k], "phase": [phase], "rest": [1]}
        return replace(signal, value=self.emit("DownsamplePick", name, {"x": signal.value}, constants))

    def last(self, signal: Coded, name: str) -> Coded:
        """The last step of a code value."""
        return self._chosen("Last", signal, name)

    def smoothed(self, signal: Coded, unit: float, name: str) -> Coded:
        """The exponentially weighted mean of a code value, at every step."""
        return replace(signal, value=self.emit("ExponentialMean", name, {"x": signal.value}, {"unit": unit}))

    def largest(self, signal: Coded, name: str) -> Coded:
        """The largest code of each channel over time."""
        return self._chosen("Largest", signal, name)

    def _chosen(self, op_type: str, signal: Coded, name: str) -> Coded:
        value = self.emit(op_type, name, {"x": signal.value}, {})
        return replace(signal, value=value, rate="sequence")


_STATE = ("keep", "unit", "dac_lo", "dac_hi", "reg_lo", "reg_hi", "r0")


def _clamped(grid: Grid, signal: Clamped, name: str) -> Grid:
    """Quantizing is monotone, so it commutes with a clamp: ``Q(clip(x, a, b)) = clip(Q(x), Q(a), Q(b))``."""
    ends = []
    for bound in (signal.low, signal.high):
        codes = np.clip(round_half_even(bound / grid.step), grid.lo, grid.hi)
        if (codes != codes[0]).any():
            fact = f"a clamp to {signal.low:g}..{signal.high:g} before a quantizer whose channels differ in scale"
            raise ModelError("SSMC-T02", fact, "quantize per tensor, or clamp at zero", name)
        ends.append(int(codes[0]))
    return replace(grid, lo=ends[0], hi=max(ends))


def _same_grid(signal: Coded, grid: Grid) -> bool:
    """Whether quantizing leaves every code as it is."""
    same = np.array_equal(signal.scale, grid.step) and not signal.offset.any()
    return same and grid.lo <= signal.lo and signal.hi <= grid.hi


def compact(scale: FloatArray) -> FloatArray:
    """One scale where all channels have the same."""
    return np.asarray(scale[0]) if (scale == scale[0]).all() else scale


def require_finite(array: ArrayLike, key: str, node: str) -> None:
    """Refuse a constant that the scales of the model have made infinite or undefined.

    Raises:
        ModelError: SSMC-R01.
    """
    if not np.isfinite(np.asarray(array, np.float64)).all():
        raise beyond_float64(key, node)


def beyond_float64(key: str, node: str) -> ModelError:
    """The error for scales whose product no float64 holds."""
    fact = f"its {key} is beyond what float64 holds: the scales before it are very large or very small"
    return ModelError("SSMC-R01", fact, "calibrate the quantizers again", node)


def unquantized_weights(node: str) -> ModelError:
    """The error for weights on no integer grid."""
    return ModelError(
        "SSMC-Q05", "the weights lie on no grid of at most 16 bits", "quantize the weights (QAT or ssmc quantize)", node
    )
