"""The oracle: onnxruntime, optimizations off, runs the model after every pass and compares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from ssmc.errors import ModelError, first_line
from ssmc.ir.build import known_shape
from ssmc.ir.strides import enough_steps

if TYPE_CHECKING:
    from onnxruntime import SessionOptions

SAMPLES = 2
STEPS = 12
MANY = 8  # sequences from whose spread a bounded change is measured
RESOLVED_CODES = 40.0
LARGEST = 1e36  # of an input's amplitude, so that float32 holds it

Arrays = dict[str, NDArray[Any]]


class Session:
    """A model in onnxruntime on the CPU, one thread, graph optimizations off, ready to run many times.

    Higher optimization levels rewrite quantized MatMuls and move results by up to 2 LSB (facts: onnxruntime#32132).
    """

    def __init__(self, model: ir.Model | onnx.ModelProto | bytes) -> None:
        """Load the model, serialized or not.

        Raises:
            ModelError: SSMC-M05 where onnxruntime does not accept it.
        """
        import onnxruntime as ort

        data = model if isinstance(model, bytes) else serialized(model)
        with refusals():
            self.session = ort.InferenceSession(data, session_options(), providers=["CPUExecutionProvider"])

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: list[str] | None = None) -> list[NDArray[Any]]:
        """The outputs, or those named.

        Raises:
            ModelError: SSMC-M05 where onnxruntime cannot run the model.
        """
        if outputs == []:  # onnxruntime would give all
            return []
        with refusals():
            return [np.asarray(out) for out in self.session.run(outputs, dict(feeds))]


def session_options() -> SessionOptions:
    """One thread, graph optimizations off, nothing logged."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return options


@contextmanager
def refusals() -> Iterator[None]:
    """Turn every exception of onnxruntime into a ModelError, SSMC-M05."""
    try:
        yield
    except Exception as error:  # onnxruntime raises a dozen unrelated classes
        fact = f"onnxruntime cannot run the model: {first_line(error, 300)}"
        raise ModelError("SSMC-M05", fact, "check it with onnx.checker") from None


def serialized(model: ir.Model | onnx.ModelProto) -> bytes:
    """The model as onnxruntime reads it; the same bytes for the same graph."""
    proto = model if isinstance(model, onnx.ModelProto) else ir.to_proto(model)
    return bytes(proto.SerializeToString(deterministic=True))


def exposed(model: ir.Model) -> tuple[onnx.ModelProto, list[str]]:
    """The model with every value of its main graph as an output, and the names of those that nodes make."""
    proto = ir.to_proto(model)
    names = [out for node in proto.graph.node for out in node.output if out]
    show(proto, names)
    return proto, names


def show(proto: onnx.ModelProto, names: Iterable[str]) -> None:
    """Make outputs of values of the main graph, in place, where they are none."""
    known = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)


def run_onnx(
    model: ir.Model | onnx.ModelProto, feeds: Mapping[str, NDArray[Any]], outputs: list[str] | None = None
) -> list[NDArray[Any]]:
    """Run a model once (`Session`).

    Raises:
        ModelError: SSMC-M05 where onnxruntime does not accept the model.
    """
    return Session(model).run(feeds, outputs)


@dataclass
class Oracle:
    """Runs one fixed random input through every stage and compares with the stage before.

    Attributes:
        model: the imported model; its first input has axes (batch, time, features), sizes taken from the graph.
        tolerance: what an exact pass may move the output by; passes that reorder float32 arithmetic flip codes at
            ties and are judged teacher-forced instead (`ssmc.checking.teacher_forced`).
    """

    tolerance: ClassVar[float] = 2.0**-20

    model: ir.Model
    seed: int = 0
    feeds: Arrays = field(init=False)
    many: Arrays = field(init=False)
    previous: list[NDArray[np.generic]] = field(init=False)
    data: bytes = field(init=False, repr=False)
    session: Session = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Run the imported model once."""
        self.feeds = random_feeds(self.model, self.seed)
        self.many = random_feeds(self.model, self.seed, batch=MANY)
        self.data = serialized(self.model)
        self.session = Session(self.data)
        self.previous = self.session.run(self.feeds)

    def compare(self, model: ir.Model, bounded: bool) -> tuple[float, float | None]:
        """How far the output is from that of the previous stage; the next stage is compared with this one.

        A graph of the same bytes as the previous stage is the same function: it is not run again.

        Returns:
            (deviation, moved): the largest difference relative to the output's largest magnitude; and, where
            ``bounded``, its root mean square relative to the output's spread (`moved`), on more sequences.
        """
        data = serialized(model)
        if data == self.data:
            return 0.0, 0.0 if bounded else None
        before, session = self.session, Session(data)
        far = None
        if bounded:
            (old,), (new,) = before.run(self.many), session.run(self.many)
            far = moved(old, new)
        now = session.run(self.feeds)
        worst = max((deviation(old, new) for old, new in zip(self.previous, now, strict=True)), default=0.0)
        self.data, self.session, self.previous = data, session, now
        return worst, far

    def require_finite(self, model: ir.Model) -> None:
        """Raise ModelError SSMC-M15 where the input makes a value NaN or infinite: its quantizer may give any code."""
        proto, names = exposed(model)
        for name, value in zip(names, run_onnx(proto, self.feeds, names), strict=True):
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise not_finite(name)


def not_finite(name: str) -> ModelError:
    """The error for a value whose codes mean nothing."""
    fact = "random inputs make it NaN or infinite in float32"
    return ModelError(
        "SSMC-M15", fact, "look for 0 / 0, the root of a negative number, or huge weights before it", name
    )


def deviation(before: NDArray[Any], after: NDArray[Any]) -> float:
    """Largest difference relative to the largest finite magnitude before; infinite where shapes differ.

    Numbers that are NaN on either side are left out: a model may divide 0 by 0 in front of a quantizer, and what code
    NaN becomes depends on how the quantizer is spelled. An output that loses every number has moved without bound.

    Args:
        before: an output, of any shape.
        after: the same after a pass; axes of length 1 may have come or gone.
    """
    if _shape(before) != _shape(after):
        return float("inf")
    before, after = (array.reshape(_shape(array)).astype(np.float64) for array in (before, after))
    known = ~(np.isnan(before) | np.isnan(after))
    if not known.any() and not np.isnan(before).all():
        return float("inf")
    differs = known & (before != after)
    gap = np.abs(after[differs] - before[differs]).max(initial=0)
    return float(gap / max(np.abs(before).max(initial=0, where=np.isfinite(before)), 1e-30))


def moved(before: NDArray[Any], after: NDArray[Any]) -> float:
    """``rms(after - before) / rms(before - mean)``, the mean of every channel taken over sequences and steps.

    The inverse of an amplitude signal-to-noise ratio: 0.1 is 20 dB. A constant ``after`` is moved by 1 at least,
    whichever constant it is, where a ratio to the output's magnitude would forgive what a bias hides. Where nothing
    varies it is the ratio to the magnitude.

    Args:
        before: outputs (N, C) or (N, T, C), or without C.
        after: the same after a pass.
    """
    if before.size != after.size:
        return float("inf")
    old = before.astype(np.float64)
    change = _rms(after.astype(np.float64).reshape(old.shape) - old)
    spread = _rms(old - old.mean(tuple(range(max(old.ndim - 1, 1))), keepdims=True)) or _rms(old)
    return change / spread if spread else float("inf") if change else 0.0


def _rms(array: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(array**2)))


def _shape(array: NDArray[Any]) -> tuple[int, ...]:
    """Axes of length 1 hold nothing to compare: the folded graph has none after a reduction."""
    return tuple(size for size in array.shape if size != 1)


def random_feeds(model: ir.Model, seed: int = 0, batch: int = SAMPLES, steps: int = STEPS) -> Arrays:
    """A random input: real numbers spread over the range the first quantizer resolves, or ids of the vocabulary."""
    rng = np.random.default_rng(seed)
    value = model.graph.inputs[0]
    sizes = input_sizes(value, batch, _ragged(model.graph, steps))
    if value.dtype is not ir.DataType.FLOAT:
        return {str(value.name): rng.integers(0, vocabulary(value), sizes)}
    amplitude = input_amplitude(value)
    amplitude = amplitude if 0 < amplitude < LARGEST else 1.0
    data = (rng.standard_normal(sizes) * amplitude).astype(np.float32)
    return {str(value.name): data}


def _ragged(graph: ir.Graph, steps: int) -> int:
    """As many steps at the lowest rate of a graph, the last group one short of whole."""
    enough = enough_steps(graph, steps)
    return enough if enough == steps else enough - 1


def input_amplitude(value: ir.Value) -> float:
    """A third of what the first quantizer behind the input resolves, 1 where none is found.

    Follows constant gains: a model of raw 16-bit audio needs inputs of thousands to be exercised at all.
    """
    gain = 1.0
    while True:
        step = next((use.node for use in value.uses() if use.node.op_type != "Shape"), None)
        if step is None:
            return 1.0
        known = (v.const_value for v in step.inputs if v is not None and v.const_value is not None)
        constant = next((array for array in (np.asarray(given.numpy()) for given in known) if array.size), None)
        if step.op_type in ("QuantizeLinear", "Quant", "IntQuant", "Quantize", "Round"):
            scale = 1.0 if constant is None else float(np.max(constant))
            return scale * RESOLVED_CODES / gain
        if step.op_type not in ("Mul", "Div", "Identity", "Transpose"):
            return 1.0 / gain
        if constant is not None and step.op_type != "Transpose":
            factor = float(np.abs(constant).max()) or 1.0
            gain = gain * factor if step.op_type == "Mul" else gain / factor
        value = step.outputs[0]


def vocabulary(value: ir.Value) -> int:
    """Rows of the smallest table that ids are looked up in; 1 where none is found."""
    sizes: list[int] = []
    same = [value]
    while same:
        sizes += _rows_read(same.pop(), same)
    return min((size for size in sizes if size), default=1)


def _rows_read(value: ir.Value, more: list[ir.Value]) -> list[int]:
    """Rows of the tables that ``value`` looks up in; values that hold the same ids go to ``more``."""
    sizes = []
    for use in value.uses():
        table = use.node.inputs[0]
        if use.node.op_type == "Gather" and use.idx == 1 and table is not None:
            producer = table.producer()
            shape = table.shape or (producer.inputs[0].shape if producer and producer.inputs[0] is not None else None)
            sizes += [int(dim) for dim in (shape or ())[:1] if isinstance(dim, int)]
        elif use.node.op_type in ("Squeeze", "Unsqueeze", "Reshape", "Cast", "Identity", "Flatten"):
            more.append(use.node.outputs[0])
    return sizes


def input_sizes(value: ir.Value, batch: int, steps: int) -> list[int]:
    """Concrete sizes: symbolic axes become ``batch``, then ``steps``, in order."""
    free = [batch, steps]
    return [int(d) if isinstance(d, int) else free.pop(0) if free else 1 for d in known_shape(value)]
