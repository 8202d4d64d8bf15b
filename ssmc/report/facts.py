"""The report as data: frozen dataclasses, and their versioned, key-sorted JSON without timestamps or paths."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from json.encoder import encode_basestring_ascii
from typing import Any

import numpy as np

from ssmc.analysis.kernels import KernelAnalysis, analyse
from ssmc.ir.operations import OPERATIONS, AnyOp, StateSpace
from ssmc.ir.program import Program
from ssmc.ir.quant import Codes
from ssmc.ir.rates import period
from ssmc.ir.serialize import Json, decode_fields
from ssmc.pipeline import PassRecord
from ssmc.report.kernels import KernelFacts, kernel_facts
from ssmc.report.widths import accumulator_bits

SCHEMA = "ssmc.report/1"
_COLLECTIONS = (dict, list, tuple)
_WORDS = {None: "null", True: "true", False: "false"}


@dataclass(frozen=True)
class PassFacts:
    """What a pass did: its effect, where it acted, and (node, reason) where it did not."""

    name: str
    effect: str
    applied: tuple[str, ...]
    declined: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class OpFacts:
    """One operation of the program.

    Attributes:
        name, kind: its name and class.
        rate: of its output: ``step``, ``1/k`` steps of the input at a lower rate, or ``sequence``.
        inputs, output: names of values.
        size, lo, hi, bits: channels and code range of the output; 0 where the output is real.
        weights, zero_weights, weight_bits: integer weights, how many of them are 0, and their width.
        accumulator_bits: width of its widest sum, the sign included; 0 where it has none.
        requant: outputs per realisation, ``shift``, ``divide``, ``table`` (`ssmc.ir.requant`).
        bound: largest distance from the exact real-valued result before rounding, in output codes, converters that
            round partial sums included; 0 is proven exact.
    """

    name: str
    kind: str
    rate: str
    inputs: tuple[str, ...]
    output: str
    size: int
    lo: int
    hi: int
    bits: int
    weights: int
    zero_weights: int
    weight_bits: int
    accumulator_bits: int
    requant: dict[str, int]
    bound: float

    @property
    def exactness(self) -> str:
        """``proven``, or ``bounded(x)`` in output codes."""
        return "proven" if self.bound == 0 else f"bounded({self.bound:.3g})"


@dataclass(frozen=True)
class Report:
    """Everything that is known about a compiled model.

    Attributes:
        ssmc: version that compiled.
        model: name, features and outputs of the model, and the head that ``ssmc run`` applies to them, if any.
        target: name and options.
        passes, ops, kernels: see their classes.
        cost: the target's own figures of one inference, and its ``steps``.
        comparison: figures of the alternatives, side by side, where the target has them.
        metrics: figures of the literature by counting, each for ``model`` and ``fp32`` (`ssmc.analysis.qs4d_metrics`).
        analysis: ranges, predicted noise and validity of every kernel, by channel (`ssmc.analysis.kernels`).
        pruning: what a budget of accuracy was spent on (`ssmc.bundle.pruning`); empty where none was given.
    """

    ssmc: str
    model: Json
    target: Json
    passes: tuple[PassFacts, ...]
    ops: tuple[OpFacts, ...]
    kernels: tuple[KernelFacts, ...]
    cost: Json
    comparison: Json
    metrics: Json
    analysis: tuple[KernelAnalysis, ...] = ()
    pruning: Json = field(default_factory=dict)

    def to_json(self) -> Json:
        """Plain JSON with its schema."""
        return {"schema": SCHEMA, **plain([self])[0]}


def plain(facts: Sequence[Report | KernelFacts | KernelAnalysis]) -> list[Json]:
    """Facts as plain JSON."""
    return [json.loads(json.dumps(one, default=_plain)) for one in facts]


def report_from_json(data: Json) -> Report:
    """The report that `Report.to_json` wrote; KeyError, TypeError or ValueError where a field is damaged."""
    report: Report = decode_fields(Report, data, {})
    if not isinstance(report.cost.get("steps", 0), int):
        raise ValueError(f"cost.steps is {report.cost['steps']!r}")
    return report


def dump_json(data: Json) -> str:
    """Key-sorted JSON text in ASCII, the same for the same data; a number that is not finite is null."""
    return _text(data, "\n") + "\n"


def _text(data: Any, line: str) -> str:
    """What ``json.dumps(data, indent=1, sort_keys=True)`` writes, in half of its time; ``line`` begins a new line."""
    if isinstance(data, str):
        return encode_basestring_ascii(data)
    if isinstance(data, float):
        return _real(data)
    if isinstance(data, _COLLECTIONS):
        return _collection(data, line)
    if data is None or isinstance(data, bool):
        return _WORDS[data]
    if isinstance(data, int):
        return int.__repr__(data)
    raise TypeError(f"{type(data).__name__} is not plain data")


def _real(data: float) -> str:
    return float.__repr__(data) if math.isfinite(data) else "null"


#: of a list whose items are all of one type, how each is written
_ALIKE: dict[type, Callable[[Any], str]] = {str: encode_basestring_ascii, int: int.__repr__, float: _real}


def _collection(data: Json | Sequence[Any], line: str) -> str:
    inner = line + " "
    if isinstance(data, dict):
        rows = [f"{encode_basestring_ascii(key)}: {_text(data[key], inner)}" for key in sorted(data)]
        return f"{{{inner}{f',{inner}'.join(rows)}{line}}}" if rows else "{}"
    kinds = set(map(type, data))
    write = _ALIKE.get(kinds.pop()) if len(kinds) == 1 else None
    rows = list(map(write, data)) if write else [_text(value, inner) for value in data]
    return f"[{inner}{f',{inner}'.join(rows)}{line}]" if rows else "[]"


def make_report(
    *,
    version: str,
    program: Program,
    target: Json,
    records: Sequence[PassRecord],
    model_name: str = "",
    cost: Json | None = None,
    metrics: Json | None = None,
    pruning: Json | None = None,
) -> Report:
    """Collect the facts of a compiled model."""
    model = {
        "name": model_name,
        "input": program.input_name,
        "input_size": program.input_size,
        "output": program.output_name,
        "output_size": program.output_size,
        "output_rate": program.output_rate,
        **({"output_every_steps": period(program.output_clock)} if program.output_clock else {}),
        **({"head": program.head} if program.head != "none" else {}),
    }
    passes = tuple(
        PassFacts(r.name, r.effect.value, r.applied, tuple((d.node, d.reason) for d in r.declined)) for r in records
    )
    kernels = kernel_facts(program)
    ops = op_facts(program)
    figures = dict(cost or {})
    comparison = figures.pop("comparison", {})
    analysis = tuple(analyse(program, op) for op in program.ops if isinstance(op, StateSpace))
    return Report(
        version, model, target, passes, ops, kernels, figures, comparison, metrics or {}, analysis, pruning or {}
    )


def op_facts(program: Program) -> tuple[OpFacts, ...]:
    """Facts of every operation, in execution order."""
    return tuple(_op_facts(program, op) for op in program.ops)


def _op_facts(program: Program, op: AnyOp) -> OpFacts:
    codes = program.values.get(op.output)
    weights = [matrix.codes for matrix in op.matrices()]
    kinds = Counter(kind for requant in op.requants() for kind in requant.kinds)
    return OpFacts(
        name=op.name,
        kind=type(op).__name__,
        rate=rate_text(codes) if codes else program.rate(op),
        inputs=op.inputs,
        output=op.output,
        size=codes.size if codes else program.output_size,
        lo=codes.quant.lo if codes else 0,
        hi=codes.quant.hi if codes else 0,
        bits=codes.quant.bits if codes else 0,
        weights=sum(w.size for w in weights),
        zero_weights=sum(int((w == 0).sum()) for w in weights),
        weight_bits=max((matrix.weight_bits for matrix in op.matrices()), default=0),
        accumulator_bits=accumulator_bits(program, op),
        requant=dict(sorted(kinds.items())),
        bound=float(op.error_bound()),
    )


def rate_text(codes: Codes) -> str:
    """When there is a new value, in words."""
    every = period(codes.clock)
    return f"1/{every}" if codes.rate == "step" and every > 1 else codes.rate


def is_computed_exactly(kind: str) -> bool:
    """Whether the operation computes codes, so that ``proven`` or ``bounded`` says something about it."""
    return kind in {cls.__name__ for cls in OPERATIONS if cls.computes}


def _plain(value: Any) -> Any:
    """The fields of facts, and numpy scalars that a target's cost figures may hold."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: getattr(value, name) for name in _names(type(value))}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not plain data")


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind))
