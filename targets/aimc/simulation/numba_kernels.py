"""Compiled inner loops of the simulator: the whole kernel time loop, and products of many steps, in lanes.

Values are float32 codes (channels, T, L): L sequences side by side are the vector lanes, so one chip's matrix stays in
the first cache through a whole sequence. Sums of integer codes below 2^24 are exact in float32. One product:

    part k:   held = sum_i W[k,g,j,i] d_i,    d = whole codes, or bit ``plane`` of them, of the rows of part k
              held += sqrt(F[k,g,j] + sum_i V[k,g,j,i] d_i^2) z - sqrt(sum_i U[k,g,tile_j,i] d_i^2) z'
                                                   (F: noise of the converter, V, U: of reading)
              x = ratio held + bias;   x += bow (1 - ((x - (lo + hi) / 2) / ((hi - lo) / 2))^2)  (converter)
              code_k = clip(round_half_even(x), lo, hi); uneven codes begin elsewhere (`transitions`)
    result    sum_k gain_k code_k, then, where there are any, the exact integer requantizations: of an ideal converter,
              and of the digital unit

and of a kernel, per step: ``d = [clip(round_half_even(r 2^-shift)); u]``, ``r' = clip(keep r + q[:n], lo, hi)``.
"""
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np
from numba import float32, int32, int64, uint32, uint64

from ssmc.targets.aimc.simulation.gauss import compiled, normal_pairs
from ssmc.targets.aimc.simulation.loop_arguments import Workspace
from ssmc.targets.aimc.simulation.transitions import BYTES_STD


@compiled
def recurrent(product, converter, requant, state, keys, lengths, u, tail, first, later, clips):
    """A kernel over all steps.

    - product, converter, requant, state: `ProductArrays`, two `RequantArrays` (G, J) and `StateArrays` of
      `loop_arguments`;
    - keys, lengths: (L,);
    - u: (G * m, T, L);
    - tail: receives the outputs beyond the states, (G * p, T, L);
    - first, later: receive the read-out before and after the update, (G * n, T, L), or are empty;
    - clips: (P, G, J) int64, conversions outside the range, added.

    A lane that has ended repeats codes of an earlier step: none of its outputs count.
    """
    groups, outputs = product.weight.shape[1:3]
    n, m = state.keep.shape[1], u.shape[0] // groups
    inputs, p = n + m, outputs - n
    steps, lanes = u.shape[1:]
    v, work = np.empty((inputs, lanes), np.float32), workspace(outputs, inputs, product.shared.shape[2], lanes)
    q, register = np.empty((outputs, lanes), np.float32), np.empty((n, lanes), np.float32)
    active = np.empty(lanes, np.float32)
    for g in range(groups):
        for k in range(n):
            register[k, :] = state.initial[g, k]
        for t in range(steps):
            run = running(lengths, t, active)
            for k in range(n):
                read_out(register[k, :run], state.inverse[g, k], state.dac_lo[g, k], state.dac_hi[g, k], v[k])
                if first.size:
                    copy(v[k], first[g * n + k, t])
            for k in range(m):
                copy(u[g * m + k, t], v[n + k])
            convert(product, converter, requant, g, t * groups + g, keys[:run], active, v, q, work, clips)
            for k in range(n):
                update(register[k, :run], state.keep[g, k], q[k], state.lo[g, k], state.hi[g, k])
                if later.size:
                    seen = later[g * n + k, t]
                    read_out(register[k], state.inverse[g, k], state.dac_lo[g, k], state.dac_hi[g, k], seen)
            for k in range(p):
                copy(q[n + k], tail[g * p + k, t])


@compiled
def stateless(product, converter, requant, keys, lengths, u, out, clips):
    """Products of every step: u (G * I, T, L) to out (G * J, T, L); arguments as in `recurrent`."""
    groups, outputs = product.weight.shape[1:3]
    inputs = u.shape[0] // groups
    steps, lanes = u.shape[1:]
    v, work = np.empty((inputs, lanes), np.float32), workspace(outputs, inputs, product.shared.shape[2], lanes)
    q, active = np.empty((outputs, lanes), np.float32), np.empty(lanes, np.float32)
    for g in range(groups):
        for t in range(steps):
            run = running(lengths, t, active)
            for k in range(inputs):
                copy(u[g * inputs + k, t], v[k])
            convert(product, converter, requant, g, t * groups + g, keys[:run], active, v, q, work, clips)
            for j in range(outputs):
                copy(q[j], out[g * outputs + j, t])


@compiled
def running(lengths, t, active):
    """Marks the lanes that have not ended, and returns how many lanes hold them all, in eights.

    All lanes at the first step: then every code that a lane keeps is one that it computed.
    """
    count = 0
    for lane in range(len(lengths)):
        active[lane] = float32(lengths[lane] > t)
        if lengths[lane] > t:
            count = lane + 1
    return len(lengths) if t == 0 else min((count + 7) // 8 * 8, len(lengths))


@compiled
def copy(x, out):
    """``out[:] = x``, which numba compiles for seconds: the error for other shapes takes all of its strings."""
    for lane in range(len(x)):
        out[lane] = x[lane]


@compiled
def read_out(register, inverse, lo, hi, out):
    """``clip(round_half_even(r 2^-shift), lo, hi)``; exact, the register has at most 24 bits."""
    for lane in range(len(register)):
        out[lane] = min(max(np.rint(register[lane] * inverse), lo), hi)


@compiled
def update(register, keep, q, lo, hi):
    """``clip(keep r + q, lo, hi)``."""
    for lane in range(len(register)):
        register[lane] = min(max(keep * register[lane] + q[lane], lo), hi)


@compiled
def workspace(outputs, inputs, tiles, lanes):
    """Scratch of `convert`. One allocation each: the compiler must see that they do not overlap."""
    rows = max(outputs, tiles) + 1
    drive = np.empty((2 * inputs, lanes), np.float32)
    square = np.empty((2 * inputs, lanes), np.float32)
    held = np.empty((rows, lanes), np.float32)
    spread = np.empty((rows, lanes), np.float32)
    draws = np.empty((rows, lanes), np.float32)
    common = np.empty((tiles, lanes), np.float32)
    high, low = np.empty(lanes, np.int32), np.empty(lanes, np.int32)
    return Workspace(drive, square, held, spread, draws, common, high, low)


@compiled
def convert(product, converter, requant, g, instant, keys, active, v, q, work, clips):
    """All parts of one product of one group at one step: v (I, L) to q (J, L); of the first lanes, one a key."""
    weight, variance, shared = product.weight, product.variance, product.shared
    spans, planes = product.spans, product.planes
    drive, square, held, spread = work.drive, work.square, work.held, work.spread
    draws, high, low = work.draws, work.high, work.low
    parts, outputs, lanes = weight.shape[0], weight.shape[2], len(keys)
    half = (outputs + 1) // 2 + (shared.shape[2] + 1) // 2
    straight = variance.size and not shared.size and product.straight[0]
    for j in range(outputs):
        begin(q, j, lanes, float32(0))
    for k in range(parts):
        span, live = spans[k, 1] - spans[k, 0], product.live[k, g]
        if k == 0 or planes[k] != planes[k - 1] or spans[k, 0] != spans[k - 1, 0]:
            put_on_rows(v, spans[k, 0], span, planes[k], product.signed[k], lanes, drive, square)
        span *= 2 if product.signed[k] else 1
        if variance.size:
            counter, fresh = uint64((instant * parts + k) * half), product.fresh[k, g]
            if planes[k] >= 0:  # a bit is its own square
                noisy_bits(weight[k, g], variance[k, g], fresh, live, drive, span, lanes, held, spread)
            else:
                noisy_sums(weight[k, g], variance[k, g], fresh, live, drive, square, span, lanes, held, spread)
            for pair in range((outputs + 1) // 2):
                if live[2 * pair] or live[min(2 * pair + 1, outputs - 1)]:
                    some = draws[2 * pair, :lanes], draws[2 * pair + 1, :lanes]
                    normal_pairs(keys, counter + uint64(pair), some[0], some[1], high, low)
            if not straight:
                add_noise(held, spread, draws, live, lanes)
            if shared.size:
                counter += uint64((outputs + 1) // 2)
                tiles = shared.shape[2]
                sums(shared[k, g], live, square, span, lanes, work.common)
                for pair in range((tiles + 1) // 2):
                    normal_pairs(keys, counter + uint64(pair), draws[2 * pair], draws[2 * pair + 1], high, low)
                subtract_common(held, work.common, draws, product.tile_of, lanes)
        else:
            sums(weight[k, g], live, drive, span, lanes, held)
        for j in range(outputs):
            if not live[j]:
                continue
            ratio, bias, bow = product.ratio[k, g, j], product.bias[k, g, j], product.bow[k, g, j]
            lo, hi, gain = product.lo[k, g, j], product.hi[k, g, j], product.gain[k, g, j]
            if straight:
                clips[k, g, j] += noisy_codes(held, spread, draws, j, lanes, ratio, bias, lo, hi, gain, active, q)
            elif product.uneven[0] > 0:
                key, width = product.key[k, g, j], product.uneven[0]
                clips[k, g, j] += uneven(held[j, :lanes], ratio, bias, lo, hi, bow, gain, key, width, active, q[j])
            else:
                clips[k, g, j] += digitize(held[j, :lanes], ratio, bias, lo, hi, bow, gain, active, q[j])
    for numbers in (converter, requant):
        for j in range(outputs if numbers.lo.size else 0):
            multiplier, offset, shift = numbers.multiplier[g, j], numbers.offset[g, j], numbers.shift[g, j]
            divisor, least, most = numbers.divisor[g, j], numbers.lo[g, j], numbers.hi[g, j]
            clips[0, g, j] += requantize(q[j, :lanes], multiplier, offset, shift, divisor, least, most, active)


@compiled
def put_on_rows(v, start, span, plane, signed, lanes, drive, square):
    """Whole codes, or one bit of them, or positive and negative codes on rows of their own; and the squares."""
    for i in range(span):
        for lane in range(lanes):
            x = v[start + i, lane]
            if plane >= 0:
                x = float32(int32(int32(int32(x) >> int32(plane)) & int32(1)))
            drive[i, lane] = max(x, float32(0)) if signed else x
            square[i, lane] = drive[i, lane] * drive[i, lane]
        if signed:
            for lane in range(lanes):
                drive[span + i, lane] = max(-v[start + i, lane], float32(0))
                square[span + i, lane] = drive[span + i, lane] * drive[span + i, lane]


@compiled
def sums(weight, live, drive, span, lanes, held):
    """``held[j] = sum_i weight[j, i] drive[i]`` of the live rows; indices, not views: numba vectorises these better."""
    whole = span - span % 4
    for j in range(weight.shape[0]):
        if not live[j]:
            continue
        begin(held, j, lanes, float32(0))
        for i in range(0, whole, 4):
            w0, w1, w2, w3 = weight[j, i], weight[j, i + 1], weight[j, i + 2], weight[j, i + 3]
            for lane in range(lanes):
                x0, x1, x2, x3 = drive[i, lane], drive[i + 1, lane], drive[i + 2, lane], drive[i + 3, lane]
                held[j, lane] += w0 * x0 + w1 * x1 + w2 * x2 + w3 * x3
        for i in range(whole, span):
            w0 = weight[j, i]
            for lane in range(lanes):
                held[j, lane] += w0 * drive[i, lane]


@compiled
def begin(x, j, lanes, value):
    """``x[j, :lanes] = value``, which numba compiles for seconds."""
    for lane in range(lanes):
        x[j, lane] = value


@compiled
def noisy_sums(weight, variance, fresh, live, drive, square, span, lanes, held, spread):
    """Sums, and their variances beyond ``fresh`` (J,), in one pass."""
    whole = span - span % 4
    for j in range(weight.shape[0]):
        if not live[j]:
            continue
        begin(held, j, lanes, float32(0))
        begin(spread, j, lanes, fresh[j])
        for i in range(0, whole, 4):
            w0, w1, w2, w3 = weight[j, i], weight[j, i + 1], weight[j, i + 2], weight[j, i + 3]
            v0, v1, v2, v3 = variance[j, i], variance[j, i + 1], variance[j, i + 2], variance[j, i + 3]
            for lane in range(lanes):
                x0, x1, x2, x3 = drive[i, lane], drive[i + 1, lane], drive[i + 2, lane], drive[i + 3, lane]
                y0, y1, y2, y3 = square[i, lane], square[i + 1, lane], square[i + 2, lane], square[i + 3, lane]
                held[j, lane] += w0 * x0 + w1 * x1 + w2 * x2 + w3 * x3
                spread[j, lane] += v0 * y0 + v1 * y1 + v2 * y2 + v3 * y3
        for i in range(whole, span):
            w0, v0 = weight[j, i], variance[j, i]
            for lane in range(lanes):
                held[j, lane] += w0 * drive[i, lane]
                spread[j, lane] += v0 * square[i, lane]


@compiled
def noisy_bits(weight, variance, fresh, live, drive, span, lanes, held, spread):
    """`noisy_sums` of drives that are 0 or 1, which are their own squares: an array less to read."""
    whole = span - span % 4
    for j in range(weight.shape[0]):
        if not live[j]:
            continue
        begin(held, j, lanes, float32(0))
        begin(spread, j, lanes, fresh[j])
        for i in range(0, whole, 4):
            w0, w1, w2, w3 = weight[j, i], weight[j, i + 1], weight[j, i + 2], weight[j, i + 3]
            v0, v1, v2, v3 = variance[j, i], variance[j, i + 1], variance[j, i + 2], variance[j, i + 3]
            for lane in range(lanes):
                x0, x1, x2, x3 = drive[i, lane], drive[i + 1, lane], drive[i + 2, lane], drive[i + 3, lane]
                held[j, lane] += w0 * x0 + w1 * x1 + w2 * x2 + w3 * x3
                spread[j, lane] += v0 * x0 + v1 * x1 + v2 * x2 + v3 * x3
        for i in range(whole, span):
            w0, v0 = weight[j, i], variance[j, i]
            for lane in range(lanes):
                held[j, lane] += w0 * drive[i, lane]
                spread[j, lane] += v0 * drive[i, lane]


@compiled
def add_noise(held, variance, draws, live, lanes):
    """``held += sqrt(variance) z``."""
    for j in range(len(live)):
        for lane in range(lanes if live[j] else 0):
            held[j, lane] += np.sqrt(variance[j, lane]) * draws[j, lane]


@compiled
def subtract_common(held, common, draws, tile_of, lanes):
    """What the offset column of a tile adds to all its outputs."""
    for j in range(len(tile_of)):
        tile = tile_of[j]
        for lane in range(lanes):
            held[j, lane] -= np.sqrt(common[tile, lane]) * draws[tile, lane]


@compiled
def noisy_codes(held, variance, draws, j, lanes, ratio, bias, lo, hi, gain, active, total):
    """`add_noise` and `digitize` in one pass, of a straight converter: without a bow, codes even."""
    clipped = float32(0)
    for lane in range(lanes):
        x = held[j, lane] + np.sqrt(variance[j, lane]) * draws[j, lane]
        code = np.rint(x * ratio + bias)
        kept = min(max(code, lo), hi)
        clipped += active[lane] if code != kept else float32(0)
        total[j, lane] += gain * kept
    return clipped


@compiled
def digitize(held, ratio, bias, lo, hi, bow, gain, active, total):
    """Adds the gained codes to ``total`` and returns how many of the active ones were clipped."""
    clipped = float32(0)
    centre, inverse = (lo + hi) * float32(0.5), float32(2) / max(hi - lo, float32(1))
    for lane in range(len(held)):
        x = held[lane] * ratio + bias
        relative = (x - centre) * inverse
        code = np.rint(x + bow * (float32(1) - relative * relative))
        kept = min(max(code, lo), hi)
        clipped += active[lane] if code != kept else float32(0)
        total[lane] += gain * kept
    return clipped


@compiled
def uneven(held, ratio, bias, lo, hi, bow, gain, key, spread, active, total):
    """`digitize` where the codes of the converter begin at `transitions`."""
    clipped = float32(0)
    centre, inverse = (lo + hi) * float32(0.5), float32(2) / max(hi - lo, float32(1))
    scale = spread * float32(np.sqrt(0.5) / BYTES_STD)
    for lane in range(len(held)):
        x = held[lane] * ratio + bias
        relative = (x - centre) * inverse
        x += bow * (float32(1) - relative * relative)
        below = np.floor(x)
        word = uint32(uint32(int32(below) + int32(1)) + key)
        word = uint32(uint32(word ^ (word >> uint32(16))) * uint32(0x7FEB352D))
        word = uint32(uint32(word ^ (word >> uint32(15))) * uint32(0x846CA68B))
        word = uint32(word ^ (word >> uint32(16)))
        pairs = uint32(uint32(word & uint32(0x00FF00FF)) + uint32((word >> uint32(8)) & uint32(0x00FF00FF)))
        four = float32(int32(uint32(pairs & uint32(0xFFFF)) + uint32(pairs >> uint32(16))))
        begins = float32(0.5) + min(max((four - float32(510)) * scale, float32(-0.5)), float32(0.5))
        code = below + float32(x - below >= begins)
        kept = min(max(code, lo), hi)
        clipped += active[lane] if code != kept else float32(0)
        total[lane] += gain * kept
    return clipped


@compiled
def requantize(x, multiplier, offset, shift, divisor, lo, hi, active):
    """``clip(round_half_even((multiplier x + offset) / 2^shift), lo, hi)``, or divided by ``divisor``; in place.

    Returns how many active ones were clipped.
    """
    clipped = float32(0)
    for lane in range(len(x)):
        product = multiplier * int64(x[lane]) + offset
        if divisor == 0:
            floor = product >> shift
            rest, whole = product - (floor << shift), int64(1) << shift
        else:
            floor = product // divisor
            rest, whole = product - floor * divisor, divisor
        twice = 2 * rest
        floor += int64(twice > whole or (twice == whole and (floor & 1) == 1))
        kept = min(max(floor, lo), hi)
        clipped += active[lane] if floor != kept else float32(0)
        x[lane] = float32(kept)
    return clipped
