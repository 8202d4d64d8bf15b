"""The whole of ``ssmc quantize``: raise, calibrate, quantize, write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common

from ssmc.budgets import DEFAULT, Budgets
from ssmc.data import Samples
from ssmc.errors import ModelError, UsageError, VerificationError
from ssmc.folding.points import Plan, plan_quantizers
from ssmc.importers import load_model
from ssmc.importers.inputs import INPUTS, parts_of, parts_text
from ssmc.importers.onnx_file import NONE
from ssmc.ir.build import graphs, is_op, known_shape, node_name, remove_dead, required
from ssmc.ir.functions import attach_functions
from ssmc.ir.parts import Constants
from ssmc.ir.program import Program
from ssmc.ir.read_program import constants
from ssmc.ir.rounding import FloatArray
from ssmc.passes.can_compile import can_compile
from ssmc.passes.canonicalize_quantizers import CanonicalizeQuantizers
from ssmc.passes.fold_constants import FoldConstants
from ssmc.passes.raise_recurrences import RaiseRecurrences
from ssmc.quantize.bases import Kernel
from ssmc.quantize.config import QuantizeConfig
from ssmc.quantize.given import spell_quantizers
from ssmc.quantize.layers import fit, layers
from ssmc.quantize.means import spell_means
from ssmc.quantize.modes import require_decay
from ssmc.quantize.nodes import float_scan
from ssmc.quantize.read_back import Fidelity, input_dtype, read_back
from ssmc.quantize.rewrite import KernelChoice, Known, replace_node, rewrite
from ssmc.recognition.axes import name_axes
from ssmc.verify import Session, run_onnx, show

MOST_DEVIATION = 1e-3
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Quantized:
    """The quantized model and what was chosen.

    Attributes:
        model: standard ONNX.
        kernels: forms.
        quantizers: how many values were given one.
        deviation: of the raised float model from the original on the first calibration sequence, relative.
        fidelity: of the quantized model on the calibration data.
        program: the same in integer codes.
    """

    model: onnx.ModelProto
    kernels: tuple[KernelChoice, ...]
    quantizers: int
    deviation: float
    fidelity: Fidelity
    program: Program


def quantize(
    path: str | Path,
    samples: Samples,
    config: QuantizeConfig | None = None,
    progress: Progress = lambda stage: None,
    budgets: Budgets = DEFAULT,
    states: Mapping[str, str] = NONE,
    keep_scales: bool = False,
) -> Quantized:
    """Quantize a float ONNX model on calibration sequences; ``states`` as in `load_model`.

    With ``keep_scales`` quantizers that the model has already stay as they are, and only what is float gets some.

    Raises:
        ModelError: the model cannot be compiled (`can_compile`), SSMC-Q10 it is quantized already, SSMC-S04 or S11 a
            kernel does not decay.
        UsageError: SSMC-D01 sequences of another size than the model's input.
        VerificationError: SSMC-V03 the raised model computes something else.
    """
    ready = Ready.read(path, samples, progress, budgets, states, keep_scales)
    return ready.quantize(config or QuantizeConfig(), progress)


@dataclass(frozen=True)
class Ready:
    """A float model with all that quantizing it needs, for one configuration or many.

    Attributes:
        source: the float model, as a file. raised: its recurrences as kernels.
        known: kernels, and values on the samples.
        deviation: see `Quantized`.
    """

    source: onnx.ModelProto
    raised: onnx.ModelProto
    known: Known
    samples: Samples
    budgets: Budgets
    deviation: float

    @classmethod
    def read(
        cls,
        path: str | Path,
        samples: Samples,
        progress: Progress = lambda stage: None,
        budgets: Budgets = DEFAULT,
        states: Mapping[str, str] = NONE,
        keep_scales: bool = False,
    ) -> Ready:
        """Raise the recurrences and run the float model on the samples; arguments and errors as in `quantize`."""
        progress("raise")
        original = load_model(path, budgets, states)
        _check_data(original, samples)
        ready = can_compile(original)
        if keep_scales and not ready.missing:
            raise ModelError("SSMC-Q10", "nothing in the model is float", "compile it as it is", Path(path).name)
        model, parts = _raised(original, keep_scales), parts_of(original)
        plan = plan_quantizers(model, name_axes(model))
        kernels = {node_name(node): _kernel_of(node) for node in plan.kernels}
        progress("calibrate")
        source, raised = ir.to_proto(load_model(path, budgets, states)), ir.to_proto(model)
        shown = [*plan.points, *(layer.value for layer in layers(plan))]
        seen, deviation = _calibrate(source, model, shown, kernels, samples)
        return cls(source, raised, Known(parts, kernels, seen), samples, budgets, deviation)

    def planned(self) -> tuple[ir.Model, Plan]:
        """A copy of the raised model that may be changed, and what of it gets quantizers."""
        model = ir.from_proto(self.raised)
        return model, plan_quantizers(model, name_axes(model))

    def quantize(
        self, config: QuantizeConfig, progress: Progress = lambda stage: None, fit_layers: bool = True
    ) -> Quantized:
        """Quantize with one configuration.

        Raises:
            ModelError: SSMC-S04 or S11 a kernel does not decay, or what the model's codes are refused for.
        """
        progress("quantize")
        model, plan = self.planned()
        fittable = [layer.with_sums(self.known.seen[str(layer.value.name)]) for layer in layers(plan) if config.refit]
        choices = rewrite(model, plan, self.known, config)
        _tidy(model)
        if fit_layers:
            progress("fit layers")
            fit(model, fittable, self.samples, input_dtype(self.source), config)
        remove_dead(model.graph)
        progress("read back")
        model.metadata_props.update({INPUTS: parts_text(self.known.parts)} if self.known.parts else {})
        made = ir.to_proto(model)
        fidelity, program = read_back(self.source, made, self.samples, self.budgets)
        return Quantized(made, choices, len(plan.points), self.deviation, fidelity, program)


def _check_data(model: ir.Model, samples: Samples) -> None:
    shape = known_shape(model.graph.inputs[0])
    if samples.features != shape[2]:
        fact = f"calibration sequences have {samples.features} features, the model takes {shape[2]}"
        raise UsageError("SSMC-D01", fact, "give sequences (steps, features) as the model reads them")
    if not np.isfinite(samples.flat).all():
        raise UsageError("SSMC-D03", "calibration data hold NaN or infinity", "clean the data")


def _raised(model: ir.Model, keep_scales: bool = False) -> ir.Model:
    """Canonical, with every recurrence as one ``ssmc::StateSpace`` in real numbers."""
    for step in (CanonicalizeQuantizers(), FoldConstants()):
        model = step.run(model).model
        attach_functions(model)
    for graph in graphs(model.graph):
        for node in graph:
            if is_op(node, "Quant", "Dequant", domain="ssmc") and not keep_scales:
                fact = "the model is quantized already"
                remedy = "compile it as it is; where parts of it are float, quantize these alone by --keep-scales"
                raise ModelError("SSMC-Q10", fact, remedy, node_name(node))
    model = RaiseRecurrences(quantized=False).run(model).model
    attach_functions(model)
    return model


def _kernel_of(node: ir.Node) -> Kernel:
    c: Constants = constants(node)
    name = node_name(node)
    n = c["keep"].shape[1]
    A, B, C, D = c["W"][..., :n], c["W"][..., n:], c["W_y"][..., :n], c["W_y"][..., n:]
    if c["step"].any() or c["step_y"].any():
        raise ModelError("SSMC-Q10", "the recurrence is quantized already", "give the float twin", name)
    if c["r0"].any():
        raise ModelError("SSMC-S05", "the recurrence does not start at 0", "start it from zeros", name)
    if node.op_type == "StateSpaceAfter":  # y reads the new state: C' = C A, D' = C B + D
        C, D = C @ A, C @ B + D
    require_decay(A, name)
    return Kernel(A, B, C, D, name)


def _calibrate(
    original: onnx.ModelProto, model: ir.Model, shown: list[ir.Value], kernels: dict[str, Kernel], samples: Samples
) -> tuple[dict[str, list[FloatArray]], float]:
    """Values ``shown`` of the float model, and inputs of kernels, by name, one array a sequence."""
    raised = ir.from_proto(ir.to_proto(model))
    of_kernels = [node for node in raised.graph if node.name in kernels]
    names = list(dict.fromkeys(str(v.name) for v in [*shown, *(required(node, 0) for node in of_kernels)]))
    for node in of_kernels:
        replace_node(raised.graph, node, float_scan(raised.graph, node, kernels[node_name(node)].dense))
    spell_means(raised.graph)
    _standard(raised)
    proto = ir.to_proto(raised)
    source, output = proto.graph.input[0].name, proto.graph.output[0].name
    show(proto, names)
    seen: dict[str, list[FloatArray]] = {name: [] for name in names}
    deviation = 0.0
    wanted = [name for name in names if name != source]
    session, kind = Session(proto), input_dtype(original)
    for index in range(len(samples)):
        x = samples.sequence(index).astype(kind)[None]
        if not x.shape[1]:
            continue
        values = session.run({source: x}, [output, *wanted])
        if not deviation:
            real = run_onnx(original, {source: x}, None)[0]
            if not np.isfinite(real).all():
                fact = "the float model gives NaN or infinity on the calibration data"
                raise ModelError("SSMC-M15", fact, "check its weights and the data", output)
            deviation = _deviation(real, values[0])
        for name, value in zip(wanted, values[1:], strict=True):
            seen[name].append(value.astype(np.float64))
        if source in seen:
            seen[source].append(x.astype(np.float64))
    return seen, deviation


def _deviation(before: FloatArray, after: FloatArray) -> float:
    far = float(np.abs(before - after).max() / max(float(np.abs(before).max()), 1e-30))
    if not far <= MOST_DEVIATION:
        fact = f"the recurrences in modal form move the float output by {far:.3g} of its range"
        raise VerificationError("SSMC-V03", fact, "report this with the model")
    return max(far, 1e-30)


def _tidy(model: ir.Model) -> None:
    """Transposes that undo each other go, and all that nobody needs."""
    for node in list(model.graph):
        before = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
        if is_op(node, "Transpose") and is_op(before, "Transpose") and before is not None:
            first, second = (x.attributes["perm"].as_ints() for x in (before, node))
            if [first[i] for i in second] == list(range(len(first))) and not node.outputs[0].is_graph_output():
                node.outputs[0].replace_all_uses_with(required(before, 0))
    _standard(model)
    common.NameFixPass()(model)  # a kernel's new values may be called like some that the graph has


def _standard(model: ir.Model) -> None:
    """Without dead nodes and without our domain."""
    spell_quantizers(model.graph)
    remove_dead(model.graph)
    attach_functions(model)
    for graph in graphs(model.graph):
        for domain in set(graph.opset_imports) - {"", "ai.onnx"}:
            del graph.opset_imports[domain]
