"""``ssmc reduce``: a float ONNX model whose channels have fewer states, fitted on calibration data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from ssmc.analysis.output_error import autocorrelation
from ssmc.analysis.pole_fit import Fit
from ssmc.analysis.reduction import Channels, to_order, within
from ssmc.budgets import DEFAULT, Budgets
from ssmc.data import Samples
from ssmc.errors import ModelError, UsageError
from ssmc.importers import load_model
from ssmc.importers.onnx_file import NONE, import_model
from ssmc.ir.build import graphs, is_op, known_shape, node_name, remove_dead, replace_value, required
from ssmc.ir.functions import attach_functions
from ssmc.ir.read_program import constants
from ssmc.ir.rounding import FloatArray, IntArray
from ssmc.passes.canonicalize_quantizers import CanonicalizeQuantizers
from ssmc.passes.fold_constants import FoldConstants
from ssmc.passes.raise_recurrences import RaiseRecurrences
from ssmc.quantize.means import spell_means
from ssmc.quantize.modes import Modes
from ssmc.quantize.nodes import float_scan
from ssmc.verify import Session, show

KERNELS = ("StateSpace", "StateSpaceAfter")
MOST_LAGS = 2048


@dataclass(frozen=True)
class Goal:
    """``states`` real states for every channel, or the fewest that leave ``error`` of its rms output."""

    states: int | None
    error: float | None

    def __post_init__(self) -> None:
        if (self.states is None) == (self.error is None):
            raise UsageError("SSMC-U33", "--states and --error: give one of the two", "give, say, --states 4")


@dataclass(frozen=True)
class KernelReduction:
    """A kernel: states of a channel before, orders (G,) and relative rms errors (G,) of its channels now."""

    name: str
    before: int
    orders: IntArray
    error: FloatArray


@dataclass(frozen=True)
class Reduced:
    """The model with fewer states.

    Attributes:
        model: standard ONNX, float.
        kernels: what became of each.
        error: rms of the change of the model's output over rms of the output, on the calibration data.
        before, accuracy: shares of sequences whose largest output is the label, of both models; None without labels.
    """

    model: onnx.ModelProto
    kernels: tuple[KernelReduction, ...]
    error: float
    before: float | None
    accuracy: float | None


def reduce(
    path: str | Path,
    samples: Samples,
    goal: Goal,
    progress: Callable[[str], None] = lambda stage: None,
    budgets: Budgets = DEFAULT,
    states: Mapping[str, str] = NONE,
) -> Reduced:
    """Fit poles, residues and D of every channel to its output on its own input (`ssmc.analysis.pole_fit`).

    Raises:
        ModelError: SSMC-T10 a kernel whose channels mix, SSMC-T11 no kernel, SSMC-Q10 quantized already,
            SSMC-M15 values beyond float32.
        UsageError: SSMC-D01 sequences of another size than the model's input, SSMC-D03 not finite.
    """
    progress("raise")
    source = ir.to_proto(load_model(path, budgets, states))
    model = _raised(ir.from_proto(source), samples)
    kernels = {node: _channels(node) for node in model.graph if is_op(node, *KERNELS, domain="ssmc")}
    if not kernels:
        raise ModelError("SSMC-T11", "the model has no recurrence", "nothing can be reduced; quantize it as it is")
    progress("run")
    seen = _inputs(model, [str(required(node, 0).name) for node in kernels], samples)
    done = []
    for number, (node, channels) in enumerate(kernels.items(), start=1):
        progress(f"kernel {number} of {len(kernels)}")
        fit = _fit(channels, seen[str(required(node, 0).name)], goal)
        done.append(KernelReduction(node_name(node), channels.A.shape[1], fit.blocks.orders, np.sqrt(fit.error)))
        replace_value(model.graph, node.outputs[0], float_scan(model.graph, node, as_modes(fit).dense))
    spell_means(model.graph)
    _standard(model)
    progress("read back")
    made = ir.to_proto(model)
    import_model(onnx.ModelProto.FromString(made.SerializeToString()), "the reduced model")
    return Reduced(made, tuple(done), *_compared(source, made, samples))


def _raised(model: ir.Model, samples: Samples) -> ir.Model:
    features = known_shape(model.graph.inputs[0])[2]
    if samples.features != features:
        fact = f"calibration sequences have {samples.features} features, the model takes {features}"
        raise UsageError("SSMC-D01", fact, "give sequences (steps, features) as the model reads them")
    if not np.isfinite(samples.flat).all():
        raise UsageError("SSMC-D03", "calibration data hold NaN or infinity", "clean the data")
    for step in (CanonicalizeQuantizers(), FoldConstants(), RaiseRecurrences(quantized=False)):
        model = step.run(model).model
        attach_functions(model)
        for node in model.graph:
            if is_op(node, "Quant", "Dequant", domain="ssmc"):
                fact = "the model is quantized already"
                raise ModelError("SSMC-Q10", fact, "reduce its float twin", node_name(node))
    return model


def _channels(node: ir.Node) -> Channels:
    """The channels of a kernel, in the convention that y reads the old state."""
    c, name = constants(node), node_name(node)
    n = c["keep"].shape[1]
    A, B, C, D = c["W"][..., :n], c["W"][..., n:], c["W_y"][..., :n], c["W_y"][..., n:]
    if D.shape[1:] != (1, 1):
        fact = f"the recurrence mixes channels: {D.shape[2]} inputs and {D.shape[1]} outputs in a group"
        raise ModelError("SSMC-T10", fact, "quantize it as it is, or train one kernel a channel", name)
    if c["r0"].any():
        raise ModelError("SSMC-S05", "the recurrence does not start at 0", "start it from zeros", name)
    if np.abs(np.linalg.eigvals(A)).max(initial=0.0) >= 1:
        fact = "a pole on or outside the unit circle"
        raise ModelError("SSMC-S04", fact, "only kernels that decay can be reduced", name)
    if node.op_type == "StateSpaceAfter":
        C, D = C @ A, C @ B + D
    return Channels(A, B[..., 0], C[:, 0], D[:, 0, 0])


def _inputs(model: ir.Model, names: list[str], samples: Samples) -> dict[str, FloatArray]:
    """Autocorrelation (G, L) of the value of each name, (1, T, G) a sequence.

    Raises:
        ModelError: SSMC-M15 where one is not finite.
    """
    proto = ir.to_proto(model)
    source = proto.graph.input[0].name
    wanted = [name for name in dict.fromkeys(names) if name != source]
    show(proto, wanted)
    sequences = [samples.sequence(index).astype(np.float32)[None] for index in range(len(samples))]
    sequences = [x for x in sequences if x.shape[1]]
    lags = min(MOST_LAGS, max((x.shape[1] for x in sequences), default=1))
    session, power = Session(proto), dict.fromkeys(names, np.zeros(()))
    for x in sequences:
        values = dict(zip(wanted, session.run({source: x}, wanted), strict=True)) if wanted else {}
        for name, value in {**values, source: x}.items():
            if name in power and not np.isfinite(value).all():
                fact = "the float model gives NaN or infinity on the calibration data"
                raise ModelError("SSMC-M15", fact, "check its weights and the data", name)
            if name in power:
                power[name] = power[name] + autocorrelation([value.astype(np.float64)], lags) * x.shape[1]
    return power


def _fit(channels: Channels, r: FloatArray, goal: Goal) -> Fit:
    most = channels.A.shape[1]
    if goal.states is not None:
        return to_order(channels, r, min(goal.states, most))
    return within(channels, r, goal.error or 0.0, most)


def as_modes(fit: Fit) -> Modes:
    """Blocks of a fit; a place without a state has the pole of its neighbour and B = C = 0."""
    blocks = fit.blocks
    radius = blocks.radius
    sign = np.where(blocks.sign == 0, blocks.sign[..., :1], blocks.sign)
    angle = np.where(blocks.turning, blocks.x[..., 1], 0.0)
    p, q = radius[..., 0] * np.cos(angle), radius[..., 0] * np.sin(angle)
    turned = np.stack([np.stack([p, -q], -1), np.stack([q, p], -1)], -2)
    A = np.where(blocks.turning[..., None, None], turned, (radius * sign)[..., None] * np.eye(2))
    pulse = np.array([1.0, 0.0])
    B = np.where(blocks.turning[..., None], pulse, (1 - radius) * (blocks.sign != 0))
    unit = np.where(blocks.turning[..., None], [1.0, -1.0], 1 / (1 - radius)) * (blocks.sign != 0)
    return Modes(A, B[..., None], (fit.gains * unit)[:, None], fit.d[:, None, None], blocks.turning)


def _standard(model: ir.Model) -> None:
    """Without dead nodes and without our domain."""
    remove_dead(model.graph)
    attach_functions(model)
    for graph in graphs(model.graph):
        for domain in set(graph.opset_imports) - {"", "ai.onnx"}:
            del graph.opset_imports[domain]


def _compared(
    before: onnx.ModelProto, after: onnx.ModelProto, samples: Samples
) -> tuple[float, float | None, float | None]:
    """Relative rms error of the output, and both accuracies, in onnxruntime."""
    old, new, name = Session(before), Session(after), before.graph.input[0].name
    power, error, right = 0.0, 0.0, np.zeros(2)
    for index in range(len(samples)):
        x = samples.sequence(index).astype(np.float32)[None]
        if not x.shape[1]:
            continue
        y, z = (np.asarray(session.run({name: x})[0], np.float64) for session in (old, new))
        power, error = power + float((y**2).sum()), error + float(((z - y) ** 2).sum())
        if samples.label is not None:
            right += [int(out.reshape(-1, out.shape[-1])[-1].argmax() == samples.label[index]) for out in (y, z)]
    far = float(np.sqrt(error / power)) if power else 0.0
    shares = right / max(len(samples), 1)
    return (far, None, None) if samples.label is None else (far, float(shares[0]), float(shares[1]))
