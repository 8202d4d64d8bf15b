"""Random programs of 1 to 16 bits with every operation, every form of a kernel and every kind of requantization."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import (
    Concat,
    Dequantize,
    Downsample,
    ExponentialMean,
    Ids,
    Last,
    Linear,
    Mean,
    Norm,
    Op,
    Product,
    Quantize,
    Slice,
    SlidingMean,
    StateSpace,
    Sum,
    Table,
)
from ssmc.ir.operations.downsample import RESTS
from ssmc.ir.program import Program
from ssmc.ir.quant import Codes, QuantType, Rate
from ssmc.ir.requant import Requant, make_requant
from ssmc.ir.rounding import IntArray
from ssmc.ir.thresholds import thresholds

Rng = np.random.Generator


@dataclass
class Draft:
    """A program in the making: operations and values so far."""

    rng: Rng
    ops: list[Op] = field(default_factory=list)
    values: dict[str, Codes] = field(default_factory=dict)

    def add(self, op: Op, size: int, code: QuantType, rate: Rate = "step") -> str:
        """Append an operation whose output has ``size`` codes of this type."""
        source = self.values[op.inputs[0]].clock if op.inputs[0] in self.values else ()
        self.ops.append(op)
        self.values[op.output] = Codes(size, code, rate, op.clock(source))
        return op.output

    def name(self, stem: str) -> str:
        return f"{stem}.{len(self.ops)}"

    def code(self, bits: int | None = None) -> QuantType:
        """A code type of 1..16 bits, signed, unsigned or shifted."""
        bits = int(self.rng.integers(1, 17)) if bits is None else bits
        lo = int(self.rng.choice([-(1 << (bits - 1)), 0, -int(self.rng.integers(0, 1 << bits))]))
        return QuantType(lo, lo + (1 << bits) - 1, np.asarray(0.25))

    def ends(self, value: str) -> tuple[int, int]:
        quant = self.values[value].quant
        return quant.lo, quant.hi


def weights(rng: Rng, shape: tuple[int, ...]) -> IntArray:
    """Codes of 1..16 bits: binary, ternary, dense or mostly zero, the extremes among them."""
    bits = int(rng.integers(1, 17))
    if bits == 1:
        return rng.choice([-1, 1], shape).astype(np.int64)
    lo, hi = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    codes = rng.integers(lo, hi + 1, shape)
    codes = np.where(rng.random(shape) < 0.2, rng.choice([lo, hi], shape), codes)
    return np.where(rng.random(shape) < rng.choice([0.0, 0.3, 0.9]), 0, codes).astype(np.int64)


def ratio_of(rng: Rng, typical: float, code: QuantType) -> Fraction:
    """Code per accumulator unit that uses the codes' range: a power of two, a short ratio or a float32."""
    aim = max(code.hi - code.lo, 1) / max(typical, 1.0) * 2.0 ** rng.uniform(-1.5, 1.5)
    power = Fraction(2) ** round(np.log2(aim))
    kind = rng.integers(4)
    if kind == 0 or code.bits > 11:
        return power * (1 if kind == 0 else int(rng.integers(1, 8)))
    if kind == 1:
        return power * Fraction(int(rng.integers(1, 9)), int(rng.choice([3, 6, 7, 12])))
    return Fraction(float(np.float32(aim))) / Fraction(float(np.float32(rng.uniform(0.5, 2))))


def fit(rng: Rng, low: IntArray, high: IntArray, code: QuantType) -> Requant:
    """A requantization of accumulators within low..high, each row its own ratio; now and then a falling one."""
    low, high = low.ravel(), high.ravel()
    shared = bool(rng.random() < 0.3)
    rows: list[Fraction] = []
    for reach in np.maximum(np.abs(low), np.abs(high)).tolist():
        made = rows[0] if shared and rows else ratio_of(rng, float(np.sqrt(reach) + reach / 8), code)
        rows.append(made * (-1 if not shared and rng.random() < 0.05 else 1))
    bias = [Fraction(int(b), 4) if rng.random() < 0.5 else Fraction(0) for b in rng.integers(-9, 10, len(rows))]
    made = make_requant(rows, bias, code.lo, code.hi, (low, high), "fuzz")
    return tabled(rng, made, low, high) if code.bits <= 8 and rng.random() < 0.3 else made


def tabled(rng: Rng, requant: Requant, low: IntArray, high: IntArray) -> Requant:
    """The same function with some rows by table, as where neither a shift nor a division fits."""
    tables = {}
    for row in np.flatnonzero(rng.random(len(requant)) < rng.choice([0.4, 1.0])).tolist():
        exact = thresholds(requant.ratio[row], requant.bias[row], int(requant.lo[row]), int(requant.hi[row]))
        ends = (low[row], high[row] + 1) if requant.ratio[row] >= 0 else (-high[row], -low[row] + 1)
        tables[row] = np.clip(exact, *ends)
    columns = {key: getattr(requant, key).copy() for key in ("multiplier", "offset", "shift", "divisor")}
    for key, values in columns.items():
        values[list(tables)] = -1 if key == "shift" else 0
    return replace(requant, **columns, thresholds=tables)


def linear(d: Draft, x: str, outputs: int, groups: int = 1, rate: Rate = "step") -> str:
    size, code = d.values[x].size, d.code()
    matrix = Matrix(weights(d.rng, (groups, outputs // groups, size // groups)))
    lo, hi = (np.full((groups, size // groups), end) for end in d.ends(x))
    requant = fit(d.rng, *matrix.reach(lo, hi), code)
    name = d.name("linear")
    return d.add(Linear(name, (x,), f"{name}/out", matrix, requant), outputs, code, rate)


def table(d: Draft, x: str) -> str:
    lo, hi = d.ends(x)
    code, size = d.code(), d.values[x].size
    rows = int(d.rng.choice([1, size]))
    values = d.rng.integers(code.lo, code.hi + 1, (rows, hi - lo + 1))
    name = d.name("table")
    return d.add(Table(name, (x,), f"{name}/out", values, lo), size, code)


def embedding(d: Draft, rng: Rng, channels: int) -> str:
    """Token ids and a row of codes for each."""
    ids, code = QuantType(0, int(rng.integers(0, 400)), np.ones(())), d.code()
    x = d.add(Ids("ids", ("x",), "codes", ids), 1, ids)
    rows = rng.integers(code.lo, code.hi + 1, (channels, ids.hi + 1))
    return d.add(Table("embedding", (x,), "embedding/out", rows, 0), channels, code)


def product(d: Draft, a: str, b: str) -> str:
    corners = [i * j for i in d.ends(a) for j in d.ends(b)]
    size, code = d.values[a].size, d.code()
    requant = fit(d.rng, np.full(size, min(corners)), np.full(size, max(corners)), code)
    name = d.name("product")
    return d.add(Product(name, (a, b), f"{name}/out", requant), size, code)


def total(d: Draft, *xs: str) -> str:
    size, code = d.values[xs[0]].size, d.code()
    shift = d.rng.integers(0, 20, size) if d.rng.random() < 0.7 else np.full(size, d.rng.integers(0, 40))
    numbers = d.rng.integers(-900, 901, (len(xs), size))
    offset = d.rng.integers(-(1 << 20), 1 << 20, size)
    lo, hi = (np.full(size, end) for end in (code.lo, code.hi))
    name = d.name("sum")
    return d.add(Sum(name, xs, f"{name}/out", numbers, offset, shift, lo, hi), size, code)


def norm(d: Draft, x: str) -> str:
    size, code = d.values[x].size, d.code(int(d.rng.integers(2, 17)))
    gain, offset = d.rng.integers(-(1 << 12), 1 << 12, (2, size))
    name = d.name("norm")
    centred, epsilon = bool(d.rng.random() < 0.5), int(d.rng.choice([0, 1, 99999]))
    op = Norm(name, (x,), f"{name}/out", centred, epsilon, gain, offset, 24, code.lo, code.hi, 0.0)
    return d.add(op, size, code)


def part(d: Draft, x: str, start: int, stop: int) -> str:
    name = d.name("slice")
    return d.add(Slice(name, (x,), f"{name}/out", start, stop), stop - start, d.values[x].quant)


def joined(d: Draft, a: str, b: str) -> str:
    name = d.name("concat")
    lo, hi = (end(pair) for end, pair in zip((min, max), zip(d.ends(a), d.ends(b), strict=True), strict=True))
    size = d.values[a].size + d.values[b].size
    return d.add(Concat(name, (a, b), f"{name}/out"), size, QuantType(lo, hi, np.asarray(0.25)))


def structured(rng: Rng, groups: int, n: int, m: int, p_: int) -> IntArray:
    """[A B; C D] per group: dense, diagonal, 2 x 2 blocks, or shuffled blocks; some states dead."""
    codes = weights(rng, (groups, n + p_, n + m))
    block = int(rng.choice([1, 2, 3, n]))
    keep = np.arange(n)[:, None] // block == np.arange(n) // block
    for g in range(groups):
        order = rng.permutation(n)
        codes[g, :n, :n] *= keep[np.ix_(order, order)]
        if rng.random() < 0.3:
            codes[g, n:, : int(rng.integers(0, n + 1))] = 0
    return codes


def kernel(d: Draft, u: str, groups: int) -> str:
    rng = d.rng
    n, p_ = int(rng.integers(1, 7)), int(rng.integers(1, 3))
    m = d.values[u].size // groups
    dac, out = d.code(int(rng.integers(1, 13))), d.code()
    inc = d.code(int(rng.integers(1, 13)))
    shape = (groups, n)
    form = rng.integers(3)
    keep = np.full(shape, form) if form < 2 else rng.integers(0, 2, shape)
    shift = keep * rng.integers(0, 6, shape)
    reg_lo = np.where(keep == 1, dac.lo << shift, dac.lo) - rng.integers(0, 3, shape) * keep
    reg_hi = np.where(keep == 1, ((dac.hi + 1) << shift) - 1, dac.hi)
    start = np.clip(rng.integers(-3, 4, shape), reg_lo, reg_hi) * int(rng.integers(0, 2))
    codes = structured(rng, groups, n, m, p_)
    edge = np.ones((groups, m), np.int64)
    lo = np.concatenate([np.full(shape, dac.lo), edge * d.ends(u)[0]], 1)
    hi = np.concatenate([np.full(shape, dac.hi), edge * d.ends(u)[1]], 1)
    apart = bool(rng.random() < 0.4)
    state, read = Matrix(codes[:, :n]), Matrix(codes[:, n:])
    fitted = [fit(rng, *matrix.reach(lo, hi), code) for matrix, code in ((state, inc), (read, out))]
    name = d.name("ssm")
    common = (keep, shift, *(np.full(shape, e) for e in (dac.lo, dac.hi)), reg_lo, reg_hi, start)
    if apart:
        op = StateSpace(name, (u,), f"{name}/y", state, fitted[0], *common, read, fitted[1], bool(rng.integers(2)))
    else:
        op = StateSpace(name, (u,), f"{name}/y", Matrix(codes), merged(fitted, groups), *common)
    return d.add(op, groups * p_, out)


def merged(parts: list[Requant], groups: int) -> Requant:
    """The requantization of a fused kernel: per group the rows of the states, then those of the outputs."""
    sizes = [len(part) // groups for part in parts]
    order = [(k, g * sizes[k] + i) for g in range(groups) for k in (0, 1) for i in range(sizes[k])]

    def pick(key: str) -> IntArray:
        return np.array([getattr(parts[k], key)[i] for k, i in order], np.int64)

    steps = {row: parts[k].thresholds[i] for row, (k, i) in enumerate(order) if i in parts[k].thresholds}
    ratio, bias = (tuple(getattr(parts[k], key)[i] for k, i in order) for key in ("ratio", "bias"))
    numbers = [pick(key) for key in ("multiplier", "offset", "shift", "divisor")]
    return Requant(ratio, bias, *numbers, steps, pick("lo"), pick("hi"))


def mean(d: Draft, x: str) -> str:
    size, code = d.values[x].size, d.code()
    made = [ratio_of(d.rng, max(map(abs, d.ends(x))), QuantType(-128, 127, np.ones(()))) for _ in range(size)]
    name = d.name("mean")
    if d.rng.random() < 0.4:
        made = [ratio / 16 for ratio in made]  # so that sums of some steps do not all saturate
        return d.add(Mean(name, (x,), f"{name}/out", tuple(made), code.lo, code.hi, "sum"), size, code, "sequence")
    return d.add(Mean(name, (x,), f"{name}/out", tuple(made), code.lo, code.hi), size, code, "sequence")


def last(d: Draft, x: str) -> str:
    name, kind = d.name("last"), ("max", d.values[x].quant.lo) if d.rng.random() < 0.5 else ()
    return d.add(Last(name, (x,), f"{name}/out", *kind), d.values[x].size, d.values[x].quant, "sequence")


def slower(d: Draft, x: str, rng: Rng) -> str:
    """A lower rate of any kind, with ratios that halve, that have no power of two, or that do not fit."""
    size, code, k = d.values[x].size, d.code(int(rng.integers(2, 17))), int(rng.integers(2, 6))
    name, rest = d.name("slower"), RESTS[int(rng.integers(2))]
    if rng.random() < 0.4:
        phase = int(rng.integers(0, k if rest == "drop" else 3 * k))
        op = Downsample(name, (x,), f"{name}/out", k, "pick", phase, rest, (Fraction(1),) * size, *d.ends(x))
        return d.add(op, size, d.values[x].quant)
    ratio = tuple(ratio_of(rng, max(map(abs, d.ends(x))), code) for _ in range(size))
    ratio = (Fraction(1),) * size if rng.random() < 0.4 else ratio
    op = Downsample(name, (x,), f"{name}/out", k, "mean", 0, rest, ratio, code.lo, code.hi)
    return d.add(op, size, code)


def sliding(d: Draft, x: str, rng: Rng) -> str:
    """The mean of the last steps."""
    size, code, name = d.values[x].size, d.code(int(rng.integers(2, 17))), d.name("sliding")
    ratio = tuple(ratio_of(rng, max(map(abs, d.ends(x))), code) for _ in range(size))
    return d.add(SlidingMean(name, (x,), f"{name}/out", int(rng.integers(2, 12)), ratio, code.lo, code.hi), size, code)


def smoothed(d: Draft, x: str, rng: Rng) -> str:
    """An exponentially weighted mean."""
    size, name = d.values[x].size, d.name("smoothed")
    return d.add(ExponentialMean(name, (x,), f"{name}/out", int(rng.integers(1, 12)), size), size, d.values[x].quant)


def random_program(seed: int, rates: bool = False) -> Program:
    """Two layers: encoder, kernel, channel-wise operations; a reduction or an output every step.

    With ``rates`` every layer, and the end, may run at a lower rate than what comes before.
    """
    lower = np.random.default_rng((seed, 2))
    rng = np.random.default_rng(seed)
    d = Draft(rng)
    features, code = int(rng.integers(1, 6)), d.code()
    own = np.random.default_rng((seed, 1))
    if own.random() < 0.15:
        x, features = embedding(d, own, features), 1
    else:
        x = d.add(Quantize("quantize", ("x",), "codes", code), features, code)
    for _ in range(int(rng.integers(1, 3))):
        x = slower(d, x, lower) if rates and lower.random() < 0.7 else x
        groups = int(rng.choice([1, 2, 3, 4, 7, 16]))
        u = linear(d, x, groups * int(rng.integers(1, 4)))
        y = kernel(d, u, groups)
        y = table(d, y) if rng.random() < 0.5 else y
        size = d.values[y].size
        both = linear(d, y, 2 * size)
        gated = product(d, part(d, both, 0, size), part(d, both, size, 2 * size))
        x = total(d, gated, y, *([y] if rng.random() < 0.2 else []))
        x = joined(d, y, x) if own.random() < 0.3 else x
        wide = max(map(abs, d.ends(x))) * size
        x = norm(d, x) if rng.random() < 0.4 and wide < 1 << 21 else x
        x = linear(d, x, d.values[x].size, groups=d.values[x].size) if rng.random() < 0.3 else x
    x = slower(d, x, lower) if rates and lower.random() < 0.4 else x
    x = sliding(d, x, lower) if rates and lower.random() < 0.3 else x
    x = smoothed(d, x, lower) if rates and lower.random() < 0.3 else x
    reduce = rng.integers(3)
    x = (mean, last)[reduce](d, x) if reduce < 2 else x
    x = linear(d, x, int(rng.integers(1, 5)), rate=d.values[x].rate)
    size = d.values[x].size
    d.ops.append(Dequantize("dequantize", (x,), "y", np.asarray(0.5)))
    return Program("x", features, "y", size, tuple(d.ops), d.values)


def random_codes(program: Program, seed: int, samples: int, steps: int) -> IntArray:
    """Input codes (samples, steps, features): noise, constant extremes, jumps between extremes."""
    rng = np.random.default_rng(seed)
    quant = program.values[program.ops[0].output].quant
    shape = (samples, steps, program.input_size)
    noise = rng.integers(quant.lo, quant.hi + 1, shape)
    extreme = rng.choice([quant.lo, quant.hi], shape)
    held = np.broadcast_to(rng.choice([quant.lo, quant.hi], (samples, 1, program.input_size)), shape)
    kind = (np.arange(samples) % 4)[:, None, None]
    return np.where(kind < 2, noise, np.where(kind == 2, extreme, held)).astype(np.int64)
