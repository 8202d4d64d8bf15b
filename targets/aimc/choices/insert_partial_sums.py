"""The graph side of lowering: explicit partial-sum quantizers, so that onnxruntime runs what the converters do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ssmc.data import Samples
from ssmc.hardware.model import Hardware
from ssmc.ir.build import add_constant, node_name, remove_dead, replace_value, ssmc_node
from ssmc.ir.functions import input_names
from ssmc.ir.read_program import constants, read_program
from ssmc.passes.place import KEY
from ssmc.pipeline import Declined, Effect, Level, Pass, PassResult
from ssmc.targets.aimc.choices.candidates import Candidates
from ssmc.targets.aimc.choices.graph_converters import lowered_constants
from ssmc.targets.aimc.choices.place_and_pack import Objective
from ssmc.targets.aimc.choices.placement import place_matrices
from ssmc.targets.aimc.lowering.conversion_plan import MatrixPlan
from ssmc.targets.aimc.lowering.partial_sums import OUTPUT, Lowered, Place

DTYPES: dict[str, type[np.generic]] = {"index": np.int64, "whole": np.bool_}


@dataclass(frozen=True)
class InsertPartialSums(Pass):
    """Rewrite matrices that are not converted once to their partial sums (DESIGN §4).

    Before: level *placed*.
    After: ``LinearParts``, ``KernelParts``, ``KernelPair[After]Parts`` where slices, row splits, bit-serial drive or a
        narrow converter need partial conversions; single conversions stay as they are.
    Preserves: every code where all conversions are lossless; else LOSSY: the converters' steps, which the hardware
        sets, may leave nothing of a sum. The matrices are listed as declined.
    Refuses: what does not fit the hardware (SSMC-A01, A02), a graph that has partial sums (A04).
    Hands on: the `Placement`, so that the emitter packs the program that was lowered here.

    Attributes:
        hardware: the chip.
        place: ``auto`` decides per matrix here, where the hardware is known, and annotates the graph anew.
        minimise: what that decision makes smaller.
        ranges: recorded sequences for which the ranges of lossy conversions are chosen; None: white input codes.
    """

    name = "insert-partial-sums"
    effect = Effect.LOSSY
    requires = Level.PLACED

    hardware: Hardware
    place: Place = "analog"
    minimise: Objective = "energy"
    ranges: Samples | None = None

    def run(self, model: ir.Model) -> PassResult:
        """Lower the program and write its partial sums into the graph."""
        asked: Place | dict[str, Place] = "auto" if self.place == "auto" else _places(model)
        candidates = Candidates(read_program(model), self.hardware, self.ranges)
        placement = place_matrices(candidates, asked, self.minimise)
        lowered = placement.lowered
        applied = []
        for node in list(model.graph):
            found = _plans(node, lowered)
            _annotate(node, lowered)
            if any(plan.matrix.is_lowered for plan, _ in found):
                _replace(model.graph, node, found)
                applied.append(
                    f"{node_name(node)}: {' + '.join(str(max(len(p.matrix.parts), 1)) for p, _ in found)} conversions"
                )
        remove_dead(model.graph)
        lossy = tuple(
            Declined(p.name, f"lossy conversions: {p.why}") for p in lowered.plans.values() if p.kind == "lossy"
        )
        effect = Effect.LOSSY if lossy else Effect.EXACT
        return PassResult(model, tuple(applied), lossy, effect, decided=placement)


def _places(model: ir.Model) -> dict[str, Place]:
    """Where the graph says that every matrix runs: both matrices of an unfused kernel in the same place."""
    places: dict[str, Place] = {}
    for node in model.graph:
        place: Place = "digital" if node.metadata_props.get(KEY) == "digital" else "analog"
        places |= {node_name(node): place, f"{node_name(node)}{OUTPUT}": place}
    return places


def _annotate(node: ir.Node, lowered: Lowered) -> None:
    """Write where a node's matrices run; analog where one of them does."""
    names = (node_name(node), f"{node_name(node)}{OUTPUT}")
    kinds = [lowered.plans[name].kind for name in names if name in lowered.plans]
    if kinds:
        node.metadata_props[KEY] = "digital" if set(kinds) == {"digital"} else "analog"


def _plans(node: ir.Node, lowered: Lowered) -> list[tuple[MatrixPlan, str]]:
    """The plans of a node's matrices, each with the suffix of its inputs."""
    named = ((node_name(node), ""), (f"{node_name(node)}{OUTPUT}", "_y"))
    return [(lowered.plans[name], suffix) for name, suffix in named if name in lowered.plans]


def _replace(graph: ir.Graph, node: ir.Node, plans: list[tuple[MatrixPlan, str]]) -> None:
    name, old = node_name(node), node.outputs[0]
    inputs = {
        key: value for key, value in zip(input_names(node.op_type), node.inputs, strict=True) if value is not None
    }
    given = constants(node)
    for plan, suffix in plans:
        for key, array in lowered_constants(plan, given, suffix).items():
            dtype = DTYPES.get(key.removesuffix("_y"), np.float64)
            inputs[key] = add_constant(graph, f"{name}.{key}", array, dtype)
    extra = [f"{name}.parts.registers"] if node.op_type.startswith("Kernel") else []
    new = ssmc_node(f"{node.op_type}Parts", inputs, f"{old.name}.parts", name=name, extra_outputs=extra)
    new.metadata_props.update(node.metadata_props)
    graph.insert_before(node, new)
    kept = str(old.name)
    replace_value(graph, old, new.outputs[0])
    graph.remove(node, safe=True)
    old.name, new.outputs[0].name = f"{kept}.whole", kept
