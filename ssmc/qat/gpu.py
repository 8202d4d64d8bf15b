"""The loops of `ssmc.qat.compiled` and `ssmc.qat.pointwise` on a GPU, in triton.

The same codes as there, and the same draws of converter noise. One program of the recurrence has some sequences of one
head, all their modes in registers, and walks along time. What the gradient needs of the forward pass, the registers of
every step, is kept: 2 N float32 a head, sequence and step. Sums are taken in a fixed order: a run can be repeated.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"
from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ssmc.qat.converter_noise import BYTES_STD
from ssmc.qat.kernel import Kernel
from ssmc.qat.recurrence import StepRanges

jit: Any = triton.jit
SEQUENCES = 16  # a program
ELEMENTS = 1024  # a program of a pointwise kernel
CELLS = tl.constexpr(12)  # numbers of a mode: decay row by row (4), b (2), c (2), ratio (2), 2^-p, keep
HALF_EVEN = tl.constexpr(1.5 * 2**23)  # float32 + this - this: rounded half to even, below 2^22
DRAWS_STD = tl.constexpr(float(BYTES_STD))


def run_on_gpu(
    w: Kernel,
    ratio: Tensor,
    dac_step: Tensor,
    keep: Tensor,
    ranges: StepRanges,
    u: Tensor,
    adc_noise: float = 0.0,
) -> Tensor:
    """`ssmc.qat.compiled.run_compiled` of tensors on a GPU."""
    limits = tuple(float(limit) for limit in (*ranges.dac, *ranges.adc, *ranges.register))
    return _run(w, ratio, 1 / dac_step[:, ::2], keep, u, limits, adc_noise)


def run_float_on_gpu(m: Kernel, u: Tensor) -> Tensor:
    """`ssmc.qat.compiled.run_compiled_float` of tensors on a GPU."""
    one = torch.ones_like(m.b[..., 0])
    ratio = torch.ones(m.b.shape[0], 2 * m.b.shape[1] + 1, device=u.device)
    return _run(m, ratio, one, torch.zeros_like(one), u, None, 0.0)


def _run(
    w: Kernel,
    ratio: Tensor,
    inverse: Tensor,
    keep: Tensor,
    u: Tensor,
    limits: tuple[float, ...] | None,
    adc_noise: float,
) -> Tensor:
    columns = ratio[:, :-1].view_as(w.b)
    cells = torch.cat([w.decay.flatten(2), w.b, w.c, columns, inverse[..., None], keep[..., None]], 2)
    outputs = torch.stack([w.d, ratio[:, -1]], 1)
    seed = torch.randint(1 << 32, (1,)).to(u.device) if adc_noise else None
    lanes = u.permute(2, 1, 0).contiguous()
    y: Tensor = _Recurrence.apply(cells, outputs, lanes, limits, adc_noise, seed)  # type: ignore[no-untyped-call]
    return y.permute(2, 1, 0).contiguous()


class _Recurrence(torch.autograd.Function):
    """Of cells (H, N, 12), outputs (H, 2) = d and ratio, u (H, T, B); ``limits`` None: nothing is rounded."""

    @staticmethod
    def forward(
        ctx: Any,
        cells: Tensor,
        outputs: Tensor,
        u: Tensor,
        limits: tuple[float, ...] | None,
        adc_noise: float,
        seed: Tensor | None,
    ) -> Tensor:
        heads, length, batch = u.shape
        modes = cells.shape[1]
        ctx.numbers = (modes, length, batch, adc_noise, *(limits or [0.0] * 6))
        ctx.constants = _constants(modes, limits is not None, seed is not None)
        ctx.grid = heads, triton.cdiv(batch, SEQUENCES)
        y, registers = torch.empty_like(u), u.new_empty(heads, length, 2, modes, batch)
        _forward[ctx.grid](cells, outputs, u, seed, registers, y, *ctx.numbers, **ctx.constants)
        ctx.save_for_backward(cells, outputs, u, seed, registers)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        cells, outputs, u, seed, registers = ctx.saved_tensors
        parts = ctx.grid[1]
        gcells, goutputs = cells.new_zeros(parts, *cells.shape), outputs.new_empty(parts, *outputs.shape)
        gu = torch.empty_like(u)
        _backward[ctx.grid](
            cells, outputs, u, seed, registers, grads[0].contiguous(), gcells, goutputs, gu,
            *ctx.numbers, **ctx.constants,
        )  # fmt: skip
        return gcells.sum(0), goutputs.sum(0), gu, None, None, None


def _constants(modes: int, quantized: bool, noisy: bool) -> dict[str, Any]:
    lanes = triton.next_power_of_2(modes)
    warps = min(8, max(1, lanes * SEQUENCES // 128))
    return {"QUANTIZED": quantized, "NOISY": noisy, "MODES": lanes, "SEQUENCES": SEQUENCES, "num_warps": warps}


@jit
def _clip(x, lo, hi):
    return tl.minimum(tl.maximum(x, lo), hi)


@jit
def _code(x, lo, hi):
    """The nearest integer, ties to even, where that is in lo..hi; else any integer outside, on the same side."""
    return (_clip(x, lo - 1, hi + 1) + HALF_EVEN) - HALF_EVEN


@jit
def _mixed(x):
    x ^= x >> 16
    x *= 0x7FEB352D
    x ^= x >> 15
    x *= 0x846CA68B
    return x ^ (x >> 16)


@jit
def _analog(z, seed, h, k, column, n, sigma, NOISY: tl.constexpr):
    """What the converter sees: `ssmc.qat.converter_noise.analog`."""
    if NOISY:
        key = _mixed(tl.load(seed).to(tl.uint32) + h.to(tl.uint32))
        key = _mixed(key + k)
        x = _mixed(_mixed(key + column) + n)
        pairs = (x & 0x00FF00FF) + ((x >> 8) & 0x00FF00FF)
        total = (pairs & 0xFFFF) + (pairs >> 16)
        z += sigma * ((total.to(tl.float32) - 510) / DRAWS_STD)
    return z


@jit
def _cell(cells, h, m, modes, i):
    """Number i of the modes of head h, as a column; 0 where there is no mode."""
    return tl.load(cells + (h * modes + m) * CELLS + i, mask=m < modes, other=0.0)[:, None]


@jit
def _cells(cells, h, m, modes):
    """All numbers of the modes of head h, each a column."""
    return (
        _cell(cells, h, m, modes, 0), _cell(cells, h, m, modes, 1),
        _cell(cells, h, m, modes, 2), _cell(cells, h, m, modes, 3),
        _cell(cells, h, m, modes, 4), _cell(cells, h, m, modes, 5),
        _cell(cells, h, m, modes, 6), _cell(cells, h, m, modes, 7),
        _cell(cells, h, m, modes, 8), _cell(cells, h, m, modes, 9),
        _cell(cells, h, m, modes, 10), _cell(cells, h, m, modes, 11),
    )  # fmt: skip


@jit
def _forward(
    cells, outputs, u, seed, registers, y,
    modes, length, batch, sigma, dac_lo, dac_hi, adc_lo, adc_hi, reg_lo, reg_hi,
    QUANTIZED: tl.constexpr, NOISY: tl.constexpr, MODES: tl.constexpr, SEQUENCES: tl.constexpr,
):  # fmt: skip
    """Fill y (H,T,B), and ``registers`` (H,T,2,N,B) with those before each step."""
    h = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * SEQUENCES + tl.arange(0, SEQUENCES)
    m = tl.arange(0, MODES)
    here, both = n < batch, (m[:, None] < modes) & (n[None, :] < batch)
    a0, a1, a2, a3, b0, b1, c0, c1, rs0, rs1, inverse, keep = _cells(cells, h, m, modes)
    d, ry = tl.load(outputs + 2 * h), tl.load(outputs + 2 * h + 1)
    column = 2 * m[:, None]
    last = 2 * modes
    state = registers + h * length * 2 * modes * batch + m[:, None] * batch + n[None, :]
    row = h * length * batch + n
    r0 = tl.zeros((MODES, SEQUENCES), tl.float32)
    r1 = tl.zeros((MODES, SEQUENCES), tl.float32)
    ahead = tl.load(u + row, mask=here, other=0.0)
    for k in range(length):
        x = ahead
        ahead = tl.load(u + row + batch, mask=here & (k + 1 < length), other=0.0)
        tl.store(state, r0, mask=both)
        tl.store(state + modes * batch, r1, mask=both)
        v0, v1 = r0, r1
        if QUANTIZED:
            v0 = _clip(_code(r0 * inverse, dac_lo, dac_hi), dac_lo, dac_hi)
            v1 = _clip(_code(r1 * inverse, dac_lo, dac_hi), dac_lo, dac_hi)
        z = tl.sum(c0 * v0 + c1 * v1, 0) + d * x
        z0 = (a0 * v0 + a1 * v1 + b0 * x[None, :]) * rs0
        z1 = (a2 * v0 + a3 * v1 + b1 * x[None, :]) * rs1
        if QUANTIZED:
            z = _code(_analog(z * ry, seed, h, k, last, n, sigma, NOISY), adc_lo, adc_hi)
            z0 = _code(_analog(z0, seed, h, k, column, n[None, :], sigma, NOISY), adc_lo, adc_hi)
            z1 = _code(_analog(z1, seed, h, k, column + 1, n[None, :], sigma, NOISY), adc_lo, adc_hi)
            z = _clip(z, adc_lo, adc_hi)
            z0 = _clip(keep * r0 + _clip(z0, adc_lo, adc_hi), reg_lo, reg_hi)
            z1 = _clip(keep * r1 + _clip(z1, adc_lo, adc_hi), reg_lo, reg_hi)
        tl.store(y + row, z, mask=here)
        r0, r1 = z0, z1
        state += 2 * modes * batch
        row += batch


@jit
def _backward(
    cells, outputs, u, seed, registers, gy, gcells, goutputs, gu,
    modes, length, batch, sigma, dac_lo, dac_hi, adc_lo, adc_hi, reg_lo, reg_hi,
    QUANTIZED: tl.constexpr, NOISY: tl.constexpr, MODES: tl.constexpr, SEQUENCES: tl.constexpr,
):  # fmt: skip
    """Gradients of cells and outputs, one part for each program of a head, and of u; zero where a code is clipped."""
    h = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * SEQUENCES + tl.arange(0, SEQUENCES)
    m = tl.arange(0, MODES)
    here, both = n < batch, (m[:, None] < modes) & (n[None, :] < batch)
    a0, a1, a2, a3, b0, b1, c0, c1, rs0, rs1, inverse, keep = _cells(cells, h, m, modes)
    d, ry = tl.load(outputs + 2 * h), tl.load(outputs + 2 * h + 1)
    column = 2 * m[:, None]
    last = 2 * modes
    state = registers + (h + 1) * length * 2 * modes * batch + m[:, None] * batch + n[None, :]
    row = (h + 1) * length * batch + n
    zero = tl.zeros((MODES, SEQUENCES), tl.float32)
    g0, g1 = zero, zero  # at the registers after the step
    d0, d1, d2, d3, gb0, gb1, gc0, gc1, t0, t1 = zero, zero, zero, zero, zero, zero, zero, zero, zero, zero
    gd = tl.zeros((SEQUENCES,), tl.float32)
    gry = tl.zeros((SEQUENCES,), tl.float32)
    for back in range(length):
        k = length - 1 - back
        state -= 2 * modes * batch
        row -= batch
        r0, r1 = tl.load(state, mask=both, other=0.0), tl.load(state + modes * batch, mask=both, other=0.0)
        x, upstream = tl.load(u + row, mask=here, other=0.0), tl.load(gy + row, mask=here, other=0.0)
        v0, v1, s0, s1 = r0, r1, zero + 1, zero + 1
        if QUANTIZED:
            s0, s1 = _code(r0 * inverse, dac_lo, dac_hi), _code(r1 * inverse, dac_lo, dac_hi)
            v0, v1 = _clip(s0, dac_lo, dac_hi), _clip(s1, dac_lo, dac_hi)
            s0, s1 = tl.where(s0 == v0, inverse, 0.0), tl.where(s1 == v1, inverse, 0.0)
        z = tl.sum(c0 * v0 + c1 * v1, 0) + d * x
        if QUANTIZED:
            code = _code(_analog(z * ry, seed, h, k, last, n, sigma, NOISY), adc_lo, adc_hi)
            upstream = tl.where(code == _clip(code, adc_lo, adc_hi), upstream, 0.0)
        gry += upstream * z
        upstream *= ry
        gd += upstream * x
        ga, xs = upstream[None, :], x[None, :]
        z0, z1 = a0 * v0 + a1 * v1 + b0 * xs, a2 * v0 + a3 * v1 + b1 * xs
        e0, e1, k0, k1 = g0, g1, keep * g0, keep * g1
        if QUANTIZED:
            q0 = _code(_analog(z0 * rs0, seed, h, k, column, n[None, :], sigma, NOISY), adc_lo, adc_hi)
            q1 = _code(_analog(z1 * rs1, seed, h, k, column + 1, n[None, :], sigma, NOISY), adc_lo, adc_hi)
            p0, p1 = _clip(q0, adc_lo, adc_hi), _clip(q1, adc_lo, adc_hi)
            n0, n1 = keep * r0 + p0, keep * r1 + p1
            in0, in1 = n0 == _clip(n0, reg_lo, reg_hi), n1 == _clip(n1, reg_lo, reg_hi)
            k0, k1 = tl.where(in0, k0, 0.0), tl.where(in1, k1, 0.0)
            e0, e1 = tl.where(in0 & (p0 == q0), e0, 0.0), tl.where(in1 & (p1 == q1), e1, 0.0)
        t0 += e0 * z0
        t1 += e1 * z1
        e0 *= rs0
        e1 *= rs1
        d0 += e0 * v0
        d1 += e0 * v1
        d2 += e1 * v0
        d3 += e1 * v1
        gb0 += e0 * xs
        gb1 += e1 * xs
        gc0 += ga * v0
        gc1 += ga * v1
        tl.store(gu + row, upstream * d + tl.sum(e0 * b0 + e1 * b1, 0), mask=here)
        g0 = k0 + (e0 * a0 + e1 * a2 + ga * c0) * s0
        g1 = k1 + (e0 * a1 + e1 * a3 + ga * c1) * s1
    part = tl.program_id(1) * tl.num_programs(0) + h
    target, mine = gcells + (part * modes + m) * CELLS, m < modes
    tl.store(target, tl.sum(d0, 1), mask=mine)
    tl.store(target + 1, tl.sum(d1, 1), mask=mine)
    tl.store(target + 2, tl.sum(d2, 1), mask=mine)
    tl.store(target + 3, tl.sum(d3, 1), mask=mine)
    tl.store(target + 4, tl.sum(gb0, 1), mask=mine)
    tl.store(target + 5, tl.sum(gb1, 1), mask=mine)
    tl.store(target + 6, tl.sum(gc0, 1), mask=mine)
    tl.store(target + 7, tl.sum(gc1, 1), mask=mine)
    tl.store(target + 8, tl.sum(t0, 1), mask=mine)
    tl.store(target + 9, tl.sum(t1, 1), mask=mine)
    tl.store(goutputs + 2 * part, tl.sum(gd, 0))
    tl.store(goutputs + 2 * part + 1, tl.sum(gry, 0))


def quantize(x: Tensor, scale: Tensor, out_scale: Tensor, lo: int, hi: int) -> Tensor:
    """`ssmc.qat.pointwise.quantize` of tensors on a GPU."""
    source = x.detach().contiguous()
    result = torch.empty_like(source)
    count = source.numel()
    _quantize[(triton.cdiv(count, ELEMENTS),)](source, scale, out_scale, result, lo, hi, count, ELEMENTS)
    return result


def gradients(grad: Tensor, x: Tensor, scale: Tensor, out_scale: Tensor, lo: int, hi: int) -> tuple[Tensor, ...]:
    """`ssmc.qat.pointwise.gradients` of tensors on a GPU."""
    upstream, source = grad.contiguous(), x.detach().contiguous()
    result = torch.empty_like(source)
    count = source.numel()
    programs = triton.cdiv(count, ELEMENTS)
    sums = x.new_empty(2, programs)
    _gradients[(programs,)](upstream, source, scale, out_scale, result, sums, lo, hi, count, ELEMENTS)
    slope, total = sums.sum(1)
    return result, slope.view_as(scale), total.view_as(out_scale)


@jit
def _quantize(x, scale, out, y, lo, hi, count, ELEMENTS: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * ELEMENTS + tl.arange(0, ELEMENTS)
    z = tl.div_rn(tl.load(x + i, mask=i < count, other=0.0), tl.load(scale))
    tl.store(y + i, _clip(_code(z, lo, hi), lo, hi) * tl.load(out), mask=i < count)


@jit
def _gradients(g, x, scale, out, gx, sums, lo, hi, count, ELEMENTS: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * ELEMENTS + tl.arange(0, ELEMENTS)
    upstream = tl.load(g + i, mask=i < count, other=0.0)
    step = tl.load(scale)
    z = tl.div_rn(tl.load(x + i, mask=i < count, other=0.0), step)
    code = _code(z, lo, hi)
    clipped = _clip(code, lo, hi)
    ratio = tl.div_rn(tl.load(out), step)
    inside = tl.where(code == clipped, upstream, 0.0)
    tl.store(gx + i, inside * ratio, mask=i < count)
    tl.store(sums + tl.program_id(0), -tl.sum(inside * z, 0) * ratio)
    tl.store(sums + tl.num_programs(0) + tl.program_id(0), tl.sum(upstream * clipped, 0))
