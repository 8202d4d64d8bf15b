"""A tile program as stages that run over whole sequences: everything but a kernel's own loop is free of time.

A stage computes one value for all steps at once; a kernel's instructions, from its read-out to its update, become one
stage with the time loop inside. `stages_of` returns None where a program holds a pattern that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ssmc.ir.requant import Requant
from ssmc.ir.rounding import IntArray
from ssmc.targets.aimc.lowering.mapping import Bank
from ssmc.targets.aimc.simulation.exact_products import Summed, whole_codes
from ssmc.targets.aimc.tiles import instructions as isa


@dataclass(frozen=True)
class Part:
    """One conversion of every output: a slice of a bank at a bit plane.

    ``step``, ``lo``, ``hi``, ``gain``: (groups, outputs). ``step`` None: the product's own converter, gain 1.
    """

    bank: str
    slice: int
    plane: int
    step: IntArray | None
    lo: IntArray
    hi: IntArray
    gain: IntArray


@dataclass(frozen=True)
class Product:
    """Values to codes through a matrix.

    Attributes:
        op: of the integer program.
        matrix: its name (`MatrixPlan.name`): the op's own, or that with ``.output`` or ``.input``.
        reads, writes: values, joined group by group.
        parts: conversions; empty for a matrix in the digital unit.
        codes: (G, J, I), of the whole matrix.
        requant: of the converter that is the quantizer, or of the digital unit behind the converter or the parts.
        lossless: without noise the parts add up to the exact product.
        converter: of a matrix that is converted once and requantized; None elsewhere.
    """

    op: str
    matrix: str
    reads: tuple[str, ...]
    writes: str
    parts: tuple[Part, ...]
    codes: IntArray
    requant: Requant
    lossless: bool
    converter: Requant | None = None

    @property
    def single(self) -> bool:
        """Whether the converter is the quantizer."""
        return self.converter is None and any(part.step is None for part in self.parts)


@dataclass(frozen=True)
class Kernel:
    """A state-space kernel: its state product, register, and the names of what it hands on (empty: nobody reads)."""

    product: Product
    update: isa.Update
    read_out: isa.ReadOut
    tail: str
    first: str
    later: str


NONE = np.zeros((0, 0), np.int64)
Stage = Product | Kernel | isa.Instruction
PLAIN = (
    *(isa.Sample, isa.LookUp, isa.Multiply, isa.Add, isa.Normalize, isa.Join),
    *(isa.Group, isa.Slide, isa.Smooth, isa.Reduce, isa.Average, isa.Recall, isa.Emit),
)


def stages_of(code: tuple[isa.Instruction, ...], banks: Mapping[str, Bank]) -> tuple[Stage, ...] | None:
    """Stages in execution order, or None."""
    try:
        return tuple(_Grouper(code, banks).group())
    except _UnknownPatternError:
        return None


class _UnknownPatternError(Exception):
    pass


class _Grouper:
    def __init__(self, code: tuple[isa.Instruction, ...], banks: Mapping[str, Bank]) -> None:
        self.code, self.banks = code, banks
        self.drives: dict[str, isa.Drive] = {}
        self.parts: dict[str, tuple[Part, isa.Drive]] = {}
        self.read_outs: dict[str, isa.ReadOut] = {}
        self.sums: dict[str, isa.Accumulate | isa.MatVec] = {}
        self.out: list[Stage] = []

    def group(self) -> list[Stage]:
        for i in self.code:
            self._take(i)
        self._hand_on()
        return self.out

    def _take(self, i: isa.Instruction) -> None:
        match i:
            case isa.Drive():
                self.drives[i.bank] = i
            case isa.Convert():
                drive = self.drives[i.bank]
                plane = -1 if drive.plane is None else drive.plane
                self.parts[i.writes] = Part(i.bank, i.slice, plane, i.step, i.lo, i.hi, NONE), drive
            case isa.ConvertQuantize():
                part = Part(i.bank, 0, -1, None, NONE, NONE, NONE)
                codes = self.banks[i.bank].codes[:, 0]
                reads = self.drives[i.bank].reads
                self.out.append(Product(i.op, i.bank, reads, i.writes, (part,), codes, i.requant, True))
            case isa.Accumulate() | isa.MatVec():
                self.sums[i.writes] = i
            case isa.Requantize():
                self.out.append(self._summed(i))
            case isa.ReadOut():
                self._read_out(i)
            case isa.Update():
                self._kernel(i)
            case isa.Select():
                self._select(i)
            case isa.Integrate() | isa.ProgramArray():
                pass
            case _ if isinstance(i, PLAIN):
                self.out.append(i)
            case _:
                raise _UnknownPatternError

    def _summed(self, i: isa.Requantize) -> Product:
        total = self.sums.get(i.reads[0])
        if total is None:
            return self._behind_converter(i)
        name = total.writes.removesuffix("/sum")
        if isinstance(total, isa.MatVec):
            return Product(i.op, name, total.reads, i.writes, (), total.codes, i.requant, True)
        pairs = [(gain, *self.parts[name]) for gain, name in zip(total.gains, total.reads, strict=True)]
        parts = tuple(replace(part, gain=gain) for gain, part, _ in pairs)
        each = [Summed(p.bank, p.slice, p.plane, p.step, p.gain) for p in parts if p.step is not None]
        whole = whole_codes(each, self.banks)
        return Product(i.op, name, pairs[0][2].reads, i.writes, parts, whole, i.requant, total.lossless)

    def _behind_converter(self, i: isa.Requantize) -> Product:
        """The conversion that came last, and what the digital unit makes of its code."""
        product = self.out.pop() if self.out else None
        if not (isinstance(product, Product) and product.single and product.writes == i.reads[0]):
            raise _UnknownPatternError
        return replace(product, writes=i.writes, requant=i.requant, lossless=False, converter=product.requant)

    def _read_out(self, i: isa.ReadOut) -> None:
        for index, stage in enumerate(self.out):
            if isinstance(stage, Kernel) and stage.update.register == i.register:
                self.out[index] = replace(stage, later=i.writes)
                return
        self.read_outs[i.register] = i

    def _kernel(self, i: isa.Update) -> None:
        first, product = self.read_outs[i.register], self.out.pop()
        if not (isinstance(product, Product) and product.writes == i.reads[0] and product.reads[0] == first.writes):
            raise _UnknownPatternError
        self.out.append(Kernel(product, i, first, "", "", ""))

    def _select(self, i: isa.Select) -> None:
        for index, stage in enumerate(self.out):
            if isinstance(stage, Kernel) and stage.product.writes == i.reads[0]:
                n, outputs = stage.update.keep.shape[1], stage.product.codes.shape[1]
                if stage.tail or (i.groups, i.start, i.stop) != (len(stage.product.codes), n, outputs):
                    raise _UnknownPatternError
                self.out[index] = replace(stage, tail=i.writes)
                return
        self.out.append(i)

    def _hand_on(self) -> None:
        """Have kernels keep their read-out where another product drives it; check that every read is defined."""
        wanted = {name for stage in self.out if not isinstance(stage, Kernel) for name in stage.reads}
        for index, stage in enumerate(self.out):
            if isinstance(stage, Kernel) and stage.read_out.writes in wanted:
                self.out[index] = replace(stage, first=stage.read_out.writes)
        known: set[str] = set()
        for stage in self.out:
            if not set(stage.product.reads[1:] if isinstance(stage, Kernel) else stage.reads) <= known:
                raise _UnknownPatternError
            known |= {stage.tail, stage.first, stage.later} if isinstance(stage, Kernel) else {stage.writes}
