"""Figures of the literature for a program: ACE, model size and ADC complexity, in two countings, against fp32.

- *ACE* (arithmetic computation effort, arXiv 2112.00133): sum over the multiply-accumulates of one step of
  ``weight bits * input bits``.
- *size*: sum of weight bits.
- *ADC complexity*: sum over the conversions of one step of their bits.

The *ssmc* counting takes every matrix of the program as it is: B and D, both halves of a GLU mixing matrix, true
encoder and decoder; A by its structure (positions that are non-zero in some channel); in delta form products at
the width of the read-out and conversions at that of the converter. The *QS4D* counting is that of
arXiv 2507.06079 (their code, `quant_optimization.py` at 75319a6), with B = 1, hence no B term, for comparison::

    ACE  = sum_layers H (N a s + N c s) + H^2 act lin   + H d_in coder act + H d_out coder act
    size = sum_layers H N (a + c) + H^2 lin             + 2 H d_in coder           (their decoder convention)
    ADC  = sum_layers H (N s + act) + H lin             + H act + d_out act

with one bit width per letter: a, c, s(tate), act(ivation), lin (mixing), coder. Widths of weights are theirs too:
b bits are the 2^b + 1 levels -2^(b-1)..2^(b-1), so that ternary is 1 bit (`qs4d_bits`). Everywhere else 8 bits are the
codes -128..127. lin is the mean of the two halves of a GLU matrix.

A step is one of the input, in both countings: what runs at a lower rate, once every k steps, counts a k-th. fp32 is
counted at full rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ssmc.ir.connectivity import live_columns
from ssmc.ir.matrix import weight_bits
from ssmc.ir.operations import Linear, Op, StateSpace, Table
from ssmc.ir.program import Program
from ssmc.ir.quant import bits_for
from ssmc.ir.rates import period
from ssmc.ir.requant import Requant
from ssmc.ir.rounding import IntArray, round_fraction, round_half_even

FP32 = 32


@dataclass(frozen=True)
class Use:
    """A block of weights in one step.

    Attributes:
        op, role: where it is; ``A``, ``B``, ``C``, ``D``, ``linear`` or ``embedding``.
        macs: multiply-accumulates, which is also the number of weights that are multiplied.
        weight_bits, input_bits: widths of the factors.
        conversions, conversion_bits: outputs that are quantized, and their width; 0 where another block counts them.
        looked_up: weights of an embedding, of which a step reads one row.
        every: steps of the input per step.
    """

    op: str
    role: str
    macs: int
    weight_bits: int
    input_bits: int
    conversions: int = 0
    conversion_bits: int = 0
    looked_up: int = 0
    every: int = 1

    @property
    def size_bits(self) -> int:
        """Storage of its weights."""
        return (self.macs + self.looked_up) * self.weight_bits


@dataclass(frozen=True)
class Figures:
    """ACE (bit x bit per step), size (bits) and ADC complexity (bits per step)."""

    ace: int
    size_bits: int
    adc: int

    def to_json(self) -> dict[str, int]:
        """Plain numbers, units in the keys."""
        return {"ace_bit2_per_step": self.ace, "adc_bits_per_step": self.adc, "size_bits": self.size_bits}


def metrics(program: Program) -> dict[str, dict[str, dict[str, int]]]:
    """Both countings, each for the program and for the same model with every width at 32 bits."""
    literature, own = qs4d_model(program), uses(program)
    return {
        "qs4d": {"model": qs4d_figures(literature).to_json(), "fp32": qs4d_figures(literature.at(FP32)).to_json()},
        "ssmc": {"model": figures(own).to_json(), "fp32": figures(at(own, FP32)).to_json()},
    }


def figures(blocks: list[Use]) -> Figures:
    """The ssmc counting."""
    ace = sum(Fraction(use.macs * use.weight_bits * use.input_bits, use.every) for use in blocks)
    adc = sum(Fraction(use.conversions * use.conversion_bits, use.every) for use in blocks)
    return Figures(round_fraction(Fraction(ace)), sum(use.size_bits for use in blocks), round_fraction(Fraction(adc)))


def at(blocks: list[Use], bits: int) -> list[Use]:
    """The same blocks with every width replaced, at full rate."""
    return [replace(use, weight_bits=bits, input_bits=bits, conversion_bits=bits, every=1) for use in blocks]


def uses(program: Program) -> list[Use]:
    """Every block of weights of the program."""
    return [replace(use, every=period(program.clock(op))) for op in program.ops for use in _uses(op, program)]


def _uses(op: Op, program: Program) -> Iterator[Use]:
    if isinstance(op, Linear):
        width, outputs = program.values[op.inputs[0]].quant.bits, op.matrix.groups * op.matrix.outputs
        read = (op.matrix.codes != 0).any(1)
        macs = int(read.sum()) * op.matrix.outputs
        yield Use(op.name, "linear", macs, op.matrix.weight_bits, width, outputs, code_bits(op.requant))
    if isinstance(op, Table) and program.is_embedding(op):
        yield Use(op.name, "embedding", 0, weight_bits(op.table), 0, looked_up=op.table.size)
    if isinstance(op, StateSpace):
        act, state = program.values[op.inputs[0]].quant.bits, op.state_dac_bits
        a, b, c, d = blocks_of(op)
        to_state, to_output = requant_bits(op)
        live = driven_states(op)
        count, pairs = int(live.sum()), live[:, :, None] & live[:, None, :] & a.any(0)
        yield Use(op.name, "A", int(pairs.sum()), weight_bits(a), state, count, to_state)
        yield Use(op.name, "B", count * op.n_input, weight_bits(b), act)
        outputs = int(live_outputs(op).sum())
        yield Use(op.name, "C", count * op.n_output, weight_bits(c), state, outputs, to_output)
        yield Use(op.name, "D", int(np.count_nonzero(d)), weight_bits(d), act)


def driven_states(op: StateSpace) -> NDArray[np.bool_]:
    """States (H, n) that something drives; the others are pruned, or fill up to the widest group."""
    return live_columns(op.matrix.codes[:, : op.n_state])


def live_outputs(op: StateSpace) -> NDArray[np.bool_]:
    """Outputs (H, p) that have weights; the others are pruned, and rest."""
    _, _, c, d = blocks_of(op)
    return np.asarray(live_columns(c) | live_columns(d))


def blocks_of(op: StateSpace) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """A (H, n, n), B (H, n, m), C (H, p, n), D (H, p, m), fused or not."""
    n = op.n_state
    top = op.matrix.codes[:, :n]
    low = op.matrix.codes[:, n:] if op.output_matrix is None else op.output_matrix.codes
    return top[..., :n], top[..., n:], low[..., :n], low[..., n:]


def requant_bits(op: StateSpace) -> tuple[int, int]:
    """Width of the codes converted for the state, and for the output."""
    if op.output_requant is not None:
        return code_bits(op.requant), code_bits(op.output_requant)
    shape = (op.matrix.groups, op.matrix.outputs)
    lo, hi = op.requant.lo.reshape(shape), op.requant.hi.reshape(shape)
    n = op.n_state
    return _span_bits(lo[:, :n], hi[:, :n]), _span_bits(lo[:, n:], hi[:, n:])


def code_bits(requant: Requant) -> int:
    """Width of the widest output code."""
    return _span_bits(requant.lo, requant.hi)


def _span_bits(lo: IntArray, hi: IntArray) -> int:
    return bits_for(int(lo.min()), int(hi.max())) if lo.size else 0


@dataclass(frozen=True)
class Qs4dLayer:
    """H channels with N real states; widths of A, B, C, state (as factor), converter, activation, mixing (a mean).

    ``pruned`` states, over all channels, and ``pruned_channels``, whose outputs rest, are gone from every count. The
    layer runs once ``every`` so many steps of the input.
    """

    channels: int
    states: int
    a: int
    b: int
    c: int
    state: int
    adc: int
    act: int
    lin: float
    pruned: int = 0
    pruned_channels: int = 0
    every: int = 1

    @property
    def live_channels(self) -> int:
        """Channels that the mixing matrix reads."""
        return self.channels - self.pruned_channels

    @property
    def live(self) -> int:
        """States over all channels, H N less the pruned ones."""
        return self.channels * self.states - self.pruned


@dataclass(frozen=True)
class Qs4dModel:
    """What the formulas of QS4D see of a model; ``coder`` is the width of encoder and decoder weights."""

    layers: tuple[Qs4dLayer, ...]
    d_in: int
    d_out: int
    coder: int

    def at(self, bits: int) -> Qs4dModel:
        """Every width replaced, at full rate."""
        widths = dict.fromkeys(("a", "b", "c", "state", "adc", "act", "lin"), bits) | {"every": 1}
        return replace(self, layers=tuple(replace(layer, **widths) for layer in self.layers), coder=bits)


def fp32_twin(*, layers: int, channels: int, states: int, d_in: int, d_out: int) -> Qs4dModel:
    """The float model of an architecture, nothing pruned; ``states`` are real (2 a complex mode)."""
    layer = Qs4dLayer(channels, states, FP32, FP32, FP32, FP32, FP32, FP32, FP32)
    return Qs4dModel((layer,) * layers, d_in, d_out, FP32)


@dataclass(frozen=True)
class Headline:
    """The QS4D counting of a program and of its float twin, and how many times less the program takes."""

    model: Figures
    fp32: Figures

    @property
    def less(self) -> dict[str, float]:
        """fp32 over model, by figure."""
        return {key: getattr(self.fp32, key) / getattr(self.model, key) for key in ("ace", "size_bits", "adc")}


def headline(program: Program, twin: Qs4dModel | None = None) -> Headline:
    """The QS4D-compatible figures of ``bundle.compiled.program`` against ``twin``.

    Without a twin: the program itself at 32 bits and full rate, with the pruned states that its arrays still show put
    back. What whole channels or states of every channel pruning removed, only the twin knows: give `fp32_twin` then.
    """
    model = qs4d_model(program)
    if twin is None:
        whole = replace(
            model, layers=tuple(replace(layer, pruned=0, pruned_channels=0, every=1) for layer in model.layers)
        )
        twin = whole.at(FP32)
    return Headline(qs4d_figures(model), qs4d_figures(twin))


def qs4d_figures(model: Qs4dModel, *, b_term: bool = False, true_decoder: bool = False) -> Figures:
    """The QS4D counting; ``b_term`` counts B, ``true_decoder`` the decoder as H x d_out."""
    ace = size = adc = 0.0
    for x in model.layers:
        h, read, n = x.channels, x.live_channels, x.live
        products = n * (x.a * x.state + x.c * x.state + b_term * x.b * x.act) + h * read * x.act * x.lin
        ace += products / x.every
        size += n * (x.a + x.c) + h * read * x.lin
        adc += (n * x.adc + read * x.act + h * x.lin) / x.every
    if not model.layers:
        return Figures(0, 0, 0)
    first, last = model.layers[0], model.layers[-1]
    ace += first.channels * model.d_in * model.coder * first.act + last.channels * model.d_out * model.coder * last.act
    size += first.channels * model.d_in * model.coder
    size += last.channels * (model.d_out if true_decoder else model.d_in) * model.coder
    adc += first.channels * first.act + model.d_out * last.act
    return Figures(*(int(round_half_even(bits)) for bits in (ace, size, adc)))


def qs4d_bits(codes: IntArray) -> int:
    """Width of weights as QS4D counts it: b bits hold -2^(b-1)..2^(b-1); 1 for ternary, 0 where all are zero."""
    top = int(np.abs(codes).max(initial=0))
    return 0 if top == 0 else (top - 1).bit_length() + 1


def _mixing_bits(codes: IntArray, channels: int) -> float:
    """`qs4d_bits` of (groups, outputs, inputs); of a GLU (two outputs a channel) the mean of its two halves."""
    parts = np.split(codes, 2, axis=1) if codes.shape[1] == 2 * channels else [codes]
    return sum(map(qs4d_bits, parts)) / len(parts)


def qs4d_model(program: Program) -> Qs4dModel:
    """Layers by their kernels; the matrices that follow a kernel mix, but for the last of the program, the decoder."""
    kernels = [op for op in program.ops if isinstance(op, StateSpace)]
    linears = [op for op in program.ops if isinstance(op, Linear)]
    order = {op.name: index for index, op in enumerate(program.ops)}
    before = [op for op in linears if kernels and order[op.name] < order[kernels[0].name]]
    decoder = [op for op in linears[-1:] if op not in before]
    ends = [*(order[op.name] for op in kernels[1:]), len(program.ops)]
    layers = []
    for op, end in zip(kernels, ends, strict=True):
        mixing = [m for m in linears if order[op.name] < order[m.name] < end and m not in decoder]
        a, b, c, _ = blocks_of(op)
        layers.append(
            Qs4dLayer(
                channels=op.matrix.groups,
                states=op.n_state,
                a=qs4d_bits(a),
                b=qs4d_bits(b),
                c=qs4d_bits(c),
                state=op.state_dac_bits,
                adc=requant_bits(op)[0],
                act=program.values[op.inputs[0]].quant.bits,
                lin=max((_mixing_bits(m.matrix.codes, op.matrix.groups) for m in mixing), default=0.0),
                pruned=int((~driven_states(op)).sum()),
                pruned_channels=int((~live_outputs(op)).all(-1).sum()),
                every=period(program.clock(op)),
            )
        )
    coder = max((qs4d_bits(op.matrix.codes) for op in (*before, *decoder)), default=0)
    return Qs4dModel(tuple(layers), program.input_size, program.output_size, coder)
