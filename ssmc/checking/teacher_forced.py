"""Teacher-forced comparison of an integer program with the float graph it was folded from.

Every operation is given the reference's input codes and state, at every step, so that one flipped code does not run
away in a feedback loop. A difference is legal only where every tie between the two codes lies within float32 error of
the real value (semantics.md §2). The reference is onnxruntime on the canonical graph, whose equality with the imported
file the oracle has checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from ssmc.checking.ties import code_reach, float_error, matrix_reach, reach
from ssmc.errors import UsageError, VerificationError
from ssmc.ir.build import carried, constant_array, is_op, node_name, required
from ssmc.ir.levels import Level
from ssmc.ir.operations import AnyOp, Downsample, ExponentialMean, SlidingMean, StateSpace, Table
from ssmc.ir.operations.operation import Reduction, Stateless
from ssmc.ir.program import Program
from ssmc.ir.read_program import read_program
from ssmc.ir.rounding import FloatArray, IntArray, round_half_even
from ssmc.ir.witness import Witness, Witnesses
from ssmc.pipeline import Stage, missing_level
from ssmc.recognition.axes import Axes, Exposed, Roles, name_axes
from ssmc.recognition.raised_scan import RaisedScan, recognise_scan
from ssmc.verify import Arrays, not_finite, run_onnx


@dataclass
class Comparison:
    """Codes compared, and those that differ: at ties of the real value, or wrongly.

    Attributes:
        compared, ties, wrong: numbers of codes.
        first: the first wrong operation.
        unseen: operations whose values the reference does not show.
    """

    compared: int = 0
    ties: int = 0
    wrong: int = 0
    first: str = ""
    unseen: list[str] = field(default_factory=list)

    def add(self, name: str, ours: IntArray, theirs: IntArray, reach: FloatArray) -> None:
        """Count; ``reach`` is how many codes float32 error may move each by."""
        differs = ours != theirs
        legal = differs & (np.abs(ours - theirs) <= reach)
        self.compared += ours.size
        self.ties += int(legal.sum())
        bad = int((differs & ~legal).sum())
        if bad and not self.first:
            self.first = name
        self.wrong += bad

    def require_legal(self) -> None:
        """Raise VerificationError SSMC-V02 where a difference is not a tie."""
        if self.wrong:
            raise VerificationError(
                "SSMC-V02",
                f"{self.wrong} of {self.compared} codes differ from onnxruntime, and not at ties of the real value",
                "report this with the model",
                self.first,
            )


@dataclass(frozen=True)
class Teacher:
    """The canonical graph with every tensor and state exposed.

    Attributes:
        proto: the graph; scans: its kernels; state_roles: axes of their states; names: of everything exposed.
        quantized: output of a quantizer -> the tensor it quantizes, and its scale.
    """

    proto: onnx.ModelProto
    scans: dict[str, RaisedScan]
    state_roles: dict[str, list[Roles]]
    names: list[str]
    quantized: dict[str, tuple[str, FloatArray]]

    @staticmethod
    def of(canonical: ir.Model) -> Teacher:
        """Expose what the reference computes: outer values, and the states before every step."""
        exposed = Exposed.of(canonical)
        axes = name_axes(exposed)
        loops = [node for node in canonical.graph if is_op(node, "Scan")]
        scans = {node_name(node): recognise_scan(node, axes) for node in loops}
        roles = {node_name(node): _state_roles(node, axes) for node in loops}
        proto, states = exposed.proto, []
        for node in proto.graph.node:
            if node.op_type == "Scan" and node.domain == "":
                states += _expose_states(node)
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in states)
        return Teacher(proto, scans, roles, [*exposed.names, *states], _quantized(canonical))

    def run(self, feeds: Arrays) -> dict[str, NDArray[np.generic]]:
        """Every exposed tensor by name."""
        return dict(zip(self.names, run_onnx(self.proto, feeds, self.names), strict=True)) | feeds

    def table_reach(self, witness: Witness, tensors: dict[str, NDArray[np.generic]], batch: int) -> FloatArray | float:
        """Codes that float32 error may move what a quantizer saw by; 1 where it is not exposed."""
        source, scale = self.quantized.get(witness.tensor, ("", np.ones(())))
        if source not in tensors:
            return 1.0
        real = witness.rows(np.asarray(tensors[source], np.float64) / scale, batch)
        with np.errstate(invalid="ignore"):  # a function may be infinite at a code
            return reach(real, float_error(np.abs(real)))

    def require_number(self, witness: Witness, tensors: dict[str, NDArray[np.generic]]) -> None:
        """Raise ModelError SSMC-M15 where what a quantizer saw is NaN or infinite: no code of it needs to be right."""
        source, _ = self.quantized.get(witness.tensor, ("", np.ones(())))
        if source in tensors and not np.isfinite(tensors[source]).all():
            raise not_finite(source)

    def registers(self, op: StateSpace, tensors: dict[str, NDArray[np.generic]]) -> IntArray:
        """Register codes (N, T, H, n) before every step."""
        found = self.scans[op.name]
        flat = []
        for index, roles in enumerate(self.state_roles[op.name]):
            states = np.asarray(tensors[f"{op.name}.state{index}"], np.float64)
            batch = 1 + roles.index("N")
            moved = np.moveaxis(states, (batch, 0), (0, 1))
            flat.append(moved.reshape(*moved.shape[:2], -1))
        codes = round_half_even(np.concatenate(flat, -1) / found.kernel.sigma).astype(np.int64)
        return codes[..., found.groups.states]


@dataclass
class ForcedCheck:
    """Watches a pipeline: keeps the first canonical graph and the first program of codes, and compares the two.

    Attributes:
        judged: level at whose passes it looks: what begins there lies between the two.
        teacher, program, witnesses: what it has seen.
    """

    judged: ClassVar[Level] = Level.CANONICAL

    teacher: Teacher | None = None
    program: Program | None = None
    witnesses: Witnesses = field(default_factory=dict)

    def see(self, stage: Stage) -> None:
        """For ``run_pipeline(after=...)``."""
        if self.teacher is None and stage.level is Level.CANONICAL:
            self.teacher = Teacher.of(stage.model)
        if self.program is None and stage.level.reaches(Level.FOLDED):
            self.program = read_program(stage.model)
            self.witnesses = stage.witnesses

    def compare(self, feeds: Arrays, found: Comparison | None = None) -> Comparison:
        """Teacher-forced comparison on one batch of the model's input.

        Raises:
            UsageError: SSMC-P02 where the pipeline made no canonical graph or no program, SSMC-P03 where the pass that
                made the program did not say which tensors show its codes.
        """
        need = "the teacher-forced comparison"
        if self.teacher is None:
            raise missing_level(Level.CANONICAL, need)
        if self.program is None:
            raise missing_level(Level.FOLDED, need)
        if not self.witnesses:
            fact = f"the pass that reaches level {Level.FOLDED.value} gave no witnesses, which {need} needs"
            raise UsageError("SSMC-P03", fact, "give PassResult.witnesses, or compile without the oracle")
        return compare(self.teacher, self.program, self.witnesses, feeds, found)


def _quantized(canonical: ir.Model) -> dict[str, tuple[str, FloatArray]]:
    found = {}
    for node in canonical.graph:
        scale = constant_array(node.inputs[1]) if is_op(node, "Quant", domain="ssmc") else None
        if scale is not None:
            found[str(node.outputs[0].name)] = (str(required(node, 0).name), np.asarray(scale, np.float64))
    return found


def _state_roles(node: ir.Node, axes: Axes) -> list[Roles]:
    return [axes.roles[str(required(node, index).name)] for index in range(carried(node))]


def _expose_states(node: onnx.NodeProto) -> list[str]:
    """Add the states before each step to a Scan's outputs."""
    body = next(a.g for a in node.attribute if a.name == "body")
    count = len(node.input) - next(a.i for a in node.attribute if a.name == "num_scan_inputs")
    where = node.name or node.output[0]
    names = []
    for index in range(count):
        name = f"{where}.state{index}"
        inner = f"{name}.inner"
        body.node.append(onnx.helper.make_node("Identity", [body.input[index].name], [inner]))
        body.output.append(onnx.ValueInfoProto(name=inner, type=body.input[index].type))
        node.output.append(name)
        names.append(name)
    for attribute in node.attribute:
        if attribute.name in ("scan_output_axes", "scan_output_directions"):
            attribute.ints.extend([0] * count)
    return names


def compare(
    teacher: Teacher,
    program: Program,
    witnesses: Witnesses,
    feeds: Arrays,
    found: Comparison | None = None,
) -> Comparison:
    """Give every operation of the unpruned program the reference's codes and compare what it makes of them.

    Raises:
        ModelError: SSMC-M15 where codes differ because the reference quantized NaN or an infinite number.
    """
    found = found or Comparison()
    tensors = teacher.run(feeds)
    codes: dict[str, NDArray[np.generic]] = {program.input_name: tensors[program.input_name]}
    batch = len(tensors[program.input_name])
    unseen: dict[str, FloatArray] = {}  # reach of the values that the reference does not show
    for op in program.ops[:-1]:
        witness = next((w for w in witnesses.get(op.output, ()) if w.tensor in tensors), None)
        theirs = witness.codes(tensors[witness.tensor], batch) if witness else None
        inputs: list[IntArray] = [codes[name] for name in op.inputs if name in codes]  # type: ignore[misc]
        if len(inputs) < len(op.inputs):
            found.unseen.append(op.name)
            continue
        if isinstance(op, StateSpace):
            ours, moves = _kernel(teacher, op, tensors, inputs[0], found)
        else:
            ours, moves = _evaluate(op, inputs), _reach(op, inputs, unseen)
        if theirs is not None and witness is not None:
            if isinstance(op, Table):
                moves = np.broadcast_to(teacher.table_reach(witness, tensors, batch), ours.shape)
            found.add(op.name, ours, theirs, moves)
            if found.first == op.name or (np.abs(ours - theirs) > 1).any():
                teacher.require_number(witness, tensors)
        codes[op.output] = ours if theirs is None else theirs
        if theirs is None:
            unseen[op.output] = np.broadcast_to(moves, ours.shape)
    return found


def _reach(op: AnyOp, inputs: list[IntArray], unseen: dict[str, FloatArray]) -> FloatArray:
    """Reach of an operation's values; of those that are picked from unseen ones, that of these."""
    if isinstance(op, Downsample) and op.how == "pick" and op.inputs[0] in unseen:
        seen = unseen[op.inputs[0]]
        return seen[:, op.phase :: op.k][:, : int(op.group.at_end(np.array(seen.shape[1])))]
    return code_reach(op, inputs)


def _evaluate(op: AnyOp, xs: list[IntArray]) -> IntArray:
    """Codes of an operation on whole sequences."""
    if isinstance(op, Reduction):
        return op.reduce(*xs)
    if isinstance(op, Downsample | SlidingMean | ExponentialMean):
        return op.whole(*xs)
    assert isinstance(op, Stateless)
    return op.apply(*xs)


def _kernel(
    teacher: Teacher, op: StateSpace, tensors: dict[str, NDArray[np.generic]], u: IntArray, found: Comparison
) -> tuple[IntArray, FloatArray]:
    inputs = op.grouped(u)
    known = op.name in teacher.scans  # a convolution keeps no state but its own inputs
    registers = teacher.registers(op, tensors) if known else _walk(op, inputs)
    new, y = op.step(registers, inputs)
    v = np.concatenate([op.read_out(registers), inputs], -1)
    moves = matrix_reach(op.matrix, op.requant, v)
    n = op.n_state
    found.add(f"{op.name}.state", new[:, :-1], registers[:, 1:], moves[:, :-1, :, :n])
    if op.output_matrix is None or op.output_requant is None:
        return y.reshape(*u.shape[:2], -1), moves[..., n:].reshape(*u.shape[:2], -1)
    state = _next(registers, new) if op.output_after else registers
    v = np.concatenate([op.read_out(state), inputs], -1)
    y = op.output_requant.apply_groups(op.output_matrix.product(v))
    moves = matrix_reach(op.output_matrix, op.output_requant, v)
    return y.reshape(*u.shape[:2], -1), moves.reshape(*u.shape[:2], -1)


def _walk(op: StateSpace, inputs: IntArray) -> IntArray:
    """Registers (N, T, H, n) before every step, from the op's own start."""
    register = np.repeat(op.register0[None], len(inputs), 0)
    seen = []
    for t in range(inputs.shape[1]):
        seen.append(register)
        register, _ = op.step(register, inputs[:, t])
    return np.stack(seen, 1)


def _next(registers: IntArray, new: IntArray) -> IntArray:
    """The reference's state after every step; our own after the last, which the reference does not show."""
    return np.concatenate([registers[:, 1:], new[:, -1:]], 1)
