"""A requantization (`ssmc.ir.requant`) as one C function of a layer: accumulator and row to code."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmc.emit_c.source import Param, SourceFile, block, comment_text, literal
from ssmc.emit_c.widths import INT32, INT64, CType, accumulator, holding
from ssmc.errors import ModelError
from ssmc.ir.requant import Requant
from ssmc.ir.rounding import IntArray

TABLE = -2
DIVIDE = -1


@dataclass(frozen=True)
class _Rows:
    """The numbers of the rows in the order in which C counts them; shift is `DIVIDE` or `TABLE` for those kinds."""

    multiplier: IntArray
    offset: IntArray
    shift: IntArray
    divisor: IntArray
    lo: IntArray
    hi: IntArray
    steps: dict[int, IntArray]

    def kinds(self) -> set[str]:
        return {"table" if s == TABLE else "divide" if s == DIVIDE else "shift" for s in self.shift.tolist()}


def _ordered(requant: Requant, order: IntArray) -> _Rows:
    shift, multiplier, offset = (a[order].copy() for a in (requant.shift, requant.multiplier, requant.offset))
    steps = {i: requant.thresholds[row] for i, row in enumerate(order.tolist()) if row in requant.thresholds}
    for i in steps:
        shift[i], offset[i] = TABLE, 0
        multiplier[i] = -1 if requant.ratio[order[i]] < 0 else 1
    return _Rows(multiplier, offset, shift, requant.divisor[order], requant.lo[order], requant.hi[order], steps)


def define_requant(
    file: SourceFile, name: str, requant: Requant, order: IntArray, reach: IntArray, acc: CType, node: str
) -> str:
    """Define ``int32_t name(acc, row)``, row i doing what row ``order[i]`` of ``requant`` does.

    Args:
        file: gets the function and its tables.
        name: of the layer.
        requant: the rows.
        order: (rows,) indices into ``requant``.
        reach: (rows,) bound of the accumulator's absolute value, by row of the order.
        acc: type of the accumulator.
        node: for error messages.

    Returns:
        The C name of the function.

    Raises:
        ModelError: SSMC-C22 where the numbers do not fit 62 bits.
    """
    rows = _ordered(requant, order)
    wide = _width(rows, reach, acc, node)
    function = file.name(f"{name}_requant")
    common = _common_shift(rows, reach) if wide == INT32 else 0
    keys = ("lo", "hi") if common else ("multiplier", "offset", "shift", "lo", "hi")
    tables = {
        key: file.param(f"{name}_{key}", getattr(rows, key), f"requantization of {name}: {key} by row") for key in keys
    }
    body = _aligned(file, name, rows, tables, common, reach) if common else _body(file, name, rows, tables, wide, reach)
    text = [f"/* accumulator to code: {comment_text(name)} */"]
    text += [f"static inline int32_t {function}({acc.name} acc, int row)", "{", block(body), "}"]
    file.functions.append("\n".join(text))
    return function


def _width(rows: _Rows, reach: IntArray, acc: CType, node: str) -> CType:
    """Type that holds the scaled accumulator and what rounding adds to it."""
    extra = np.where(rows.shift >= 0, np.left_shift(1, np.maximum(rows.shift, 0)), np.maximum(rows.divisor, 1))
    numbers = zip(rows.multiplier.tolist(), reach.tolist(), rows.offset.tolist(), strict=True)
    sums = [abs(m) * a + abs(b) for m, a, b in numbers]
    if max(sums) >= 1 << 62:
        raise ModelError("SSMC-C22", "a requantization needs more than 62 bits", "use fewer bits", node)
    top = max(s + e for s, e in zip(sums, extra.tolist(), strict=True))
    fits = accumulator(top) if rows.shift.max() <= 30 else INT64
    return INT64 if acc == INT64 else fits


def _common_shift(rows: _Rows, reach: IntArray) -> int:
    """The largest shift S, where 32 bits hold ``(M acc + b) 2^(S - shift) + 2^(S - 1)`` of every row; else 0."""
    common = int(rows.shift.max())
    if rows.kinds() != {"shift"} or not 0 < common <= 30:
        return 0
    numbers = zip(rows.multiplier.tolist(), reach.tolist(), rows.offset.tolist(), rows.shift.tolist(), strict=True)
    tops = [((abs(m) * a + abs(b)) << (common - s)) + (1 << (common - 1)) for m, a, b, s in numbers]
    return common if accumulator(max(tops)) == INT32 else 0


def _aligned(
    file: SourceFile, name: str, rows: _Rows, tables: dict[str, Param], common: int, reach: IntArray
) -> list[str]:
    """``((M acc + b) 2^(S - shift) + 2^(S - 1)) / 2^S``: one shift S for all rows, whose rounding is then constant."""
    numbers = {"multiplier": rows.multiplier, "offset": rows.offset, "left": common - rows.shift}
    host = next((key for key in ("offset", "multiplier") if _has_room(numbers[key], numbers["left"])), "")
    lines, params = [], {}
    if host:
        both = 32 * numbers[host] + numbers.pop("left")
        what = f"requantization of {name}: 32 {host} + left shift to 2^-{common}, by row"
        table = file.constant(f"{name}_{host}", both, what, INT32)
        lines, numbers[host] = [f"const int32_t number = {table.name}[row];"], both
        params["left"] = Param("(number & 31)", True, 0, 31)
    for key, values in numbers.items():
        what = f"requantization of {name}: {f'left shift to 2^-{common}' if key == 'left' else key} by row"
        hosted = Param("(number >> 5)", True, int(values.min()), int(values.max()))
        params[key] = hosted if key == host else file.param(f"{name}_{key}", values, what)
    scaled = _scaled(params, INT32)
    if not params["left"].always(0):
        scaled = f"({scaled}) * (INT32_C(1) << {params['left'].at('row')})"
    lines += [f"const int32_t scaled = {scaled} + {literal(1 << (common - 1))};"]
    code = f"{file.helper('even_shift32')}(scaled, {common})"
    return _ignore_row([*lines, f"return {_clamped(file, code, rows, tables, INT32, reach)};"])


def _has_room(values: IntArray, left: IntArray) -> bool:
    """Whether values that take 32 bits leave five of them for the left shifts."""
    return holding(values) == INT32 and bool((np.abs(values) < 1 << 26).all() and (left != left[0]).any())


def _body(
    file: SourceFile, name: str, rows: _Rows, tables: dict[str, Param], wide: CType, reach: IntArray
) -> list[str]:
    scaled = _scaled(tables, wide)
    kinds = rows.kinds()
    lines = [f"const {wide.name} scaled = {scaled};"]
    if kinds == {"shift"}:
        code = _shifted(file, tables["shift"], wide)
        return _ignore_row([*lines, f"return {_clamped(file, code, rows, tables, wide, reach)};"])
    if "table" in kinds:
        lines += _look_up(file, name, rows, tables, wide, only=kinds == {"table"})
    if "divide" in kinds:
        divisor = file.param(f"{name}_divisor", np.maximum(rows.divisor, 1), f"divisors of {name} by row")
        quotient = f"{file.helper(f'round_divide{wide.bits}')}(scaled, {divisor.at('row')})"
        code = _clamped(file, quotient, rows, tables, wide, None)
        lines += _when(f"{tables['shift'].at('row')} == {DIVIDE}", [f"return {code};"], only="shift" not in kinds)
    if "shift" in kinds:
        code = _shifted(file, tables["shift"], wide)
        lines += [f"return {_clamped(file, code, rows, tables, wide, None)};"]
    return _ignore_row(lines)


def _scaled(tables: dict[str, Param], wide: CType) -> str:
    multiplier, offset = tables["multiplier"], tables["offset"]
    cast = "(int64_t)" if wide == INT64 else ""
    scaled = "acc" if multiplier.always(1) else f"{cast}{multiplier.at('row')} * acc"
    return scaled if offset.always(0) else f"{scaled} + {offset.at('row')}"


def _shifted(file: SourceFile, shift: Param, wide: CType) -> str:
    if shift.always(0):
        return "scaled"
    return f"{file.helper(f'round_shift{wide.bits}')}(scaled, {shift.at('row')})"


def _clamped(
    file: SourceFile, code: str, rows: _Rows, tables: dict[str, Param], wide: CType, reach: IntArray | None
) -> str:
    if reach is not None and _never_saturates(rows, reach):
        return code if wide != INT64 else f"(int32_t){code}"
    if wide == INT32:
        return saturated(file, code, (tables["lo"], tables["hi"]), "row")
    return f"{file.helper(f'clamp{wide.bits}')}({code}, {tables['lo'].at('row')}, {tables['hi'].at('row')})"


def saturated(file: SourceFile, code: str, ends: tuple[Param, Param], row: str) -> str:
    """An int32_t limited to ``ends``; one instruction on Arm where these are the range of an integer of any width."""
    lo, hi = ends
    bits = hi.hi.bit_length() + 1
    if lo.always(-1 << (bits - 1)) and hi.always((1 << (bits - 1)) - 1) and 1 < bits < 32:
        return f"{file.helper('saturate')}({code}, {bits})"
    if lo.always(0) and hi.always((1 << (bits - 1)) - 1) and 1 < bits < 32:
        return f"{file.helper('saturate_unsigned')}({code}, {bits - 1})"
    return f"{file.helper('clamp32')}({code}, {lo.at(row)}, {hi.at(row)})"


def _never_saturates(rows: _Rows, reach: IntArray) -> bool:
    """No reachable accumulator leads beyond the codes (shift rows only)."""
    for i in range(len(reach)):
        top = abs(int(rows.multiplier[i])) * int(reach[i])
        half = 1 << int(rows.shift[i])
        low, high = int(rows.offset[i]) - top - half, int(rows.offset[i]) + top + half
        if low >> int(rows.shift[i]) < int(rows.lo[i]) or high >> int(rows.shift[i]) > int(rows.hi[i]):
            return False
    return True


def _look_up(
    file: SourceFile, name: str, rows: _Rows, tables: dict[str, Param], wide: CType, *, only: bool
) -> list[str]:
    """Count the thresholds that the accumulator has reached."""
    counts = np.array([len(rows.steps.get(i, ())) for i in range(len(rows.shift))], np.int64)
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    every = np.concatenate([rows.steps[i] for i in sorted(rows.steps)] or [np.zeros(1, np.int64)])
    steps = file.constant(f"{name}_steps", np.append(every, 0), f"thresholds of {name}, all rows", wide)
    index = file.constant(f"{name}_steps_of", first, f"first threshold of each row of {name}")
    start, stop = f"{index.name}[row]", f"{index.name}[row + 1]"
    count = f"{file.helper(f'reached{wide.bits}')}({steps.name} + {start}, (int32_t)({stop} - {start}), scaled)"
    return _when(f"{tables['shift'].at('row')} == {TABLE}", [f"return {tables['lo'].at('row')} + {count};"], only=only)


def _when(condition: str, lines: list[str], *, only: bool) -> list[str]:
    return lines if only else [f"if ({condition}) {{", *(f"    {line}" for line in lines), "}"]


def _ignore_row(lines: list[str]) -> list[str]:
    return lines if any("row]" in line or "row +" in line for line in lines) else ["(void)row;", *lines]
