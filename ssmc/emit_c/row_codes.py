"""Dense rows of 2- and 4-bit codes in C: a shift and a mask make a pair of codes out of a word, without sign extension.

A word of a row has the codes of pairs of inputs, one of a pair in its lower half, the other in its upper. Shifted left,
a pair comes to lie in the highest bits of both halves, where a code c of b bits stands for ``2^(16 - b) c``: a dual
multiply-accumulate sums ``2^(16 - b) (c0 x0 + c1 x1)``. The row's sum is that total shifted right.
"""

from __future__ import annotations

import numpy as np

from ssmc.emit_c.widths import INT8, CType
from ssmc.ir.rounding import IntArray

#: rows that share what was loaded of x
TOGETHER = 4
BITS = (2, 4)


def per_word(bits: int) -> int:
    """Codes of a word."""
    return 32 // bits


def padded(inputs: int, bits: int) -> int:
    """Inputs that whole words have."""
    return -(-inputs // per_word(bits)) * per_word(bits)


def fits(codes: IntArray, bits: int, x: CType) -> bool:
    """Whether rows (rows, n) over x can be stored so, in about as much flash, and 32 bits hold their totals."""
    n = codes.shape[1]
    if bits not in BITS or x != INT8 or 4 * padded(n, bits) > 5 * n:
        return False
    reach = int(np.abs(codes).sum(1).max(initial=0)) << 7
    return reach << (16 - bits) < 1 << 31


def pack_words(codes: IntArray, bits: int) -> IntArray:
    """Words in the order in which the helper reads them: by `TOGETHER` rows, of these one word each in turn."""
    rows, n = codes.shape
    whole = np.zeros((rows, padded(n, bits)), np.int64)
    whole[:, :n] = codes & ((1 << bits) - 1)
    pairs = whole.reshape(rows, -1, per_word(bits) // 2, 2)
    places = 16 - bits * (np.arange(per_word(bits) // 2)[:, None] + 1) + np.array([0, 16])
    words = (pairs << places).sum((2, 3))
    split = rows - rows % TOGETHER
    blocks = [words[first : first + TOGETHER] for first in range(0, split, TOGETHER)]
    blocks += [words[first : first + 1] for first in range(split, rows)]
    return np.concatenate([block.T.ravel() for block in blocks])


def _block(rows: int, bits: int) -> list[str]:
    """C of so many rows over all inputs."""
    every = range(rows)
    lines = [f"int32_t {', '.join(f't{r} = 0' for r in every)};"]
    lines += [f"for (int i = 0; i < n; i += {per_word(bits)}, w += {rows}) {{"]
    lines += [f"    const uint32_t {', '.join(f'w{r} = w[{r}]' for r in every)};", "    int32_t v;"]
    for pair in range(per_word(bits) // 2):
        lines += [f"    v = @_load_pair(x + i{f' + {2 * pair}' if pair else ''});"]
        for r in every:
            shifted = f"w{r} << {bits * pair}" if pair else f"w{r}"
            lines += [f"    t{r} = @_dual((int32_t)({shifted} & mask), v, t{r});"]
    return [*lines, "}", *(f"sum[{r}] = t{r} >> {16 - bits};" for r in every)]


def _text(bits: int) -> str:
    """A helper's definition."""
    mask = ((1 << bits) - 1 << (16 - bits)) * 0x10001
    lines = [
        f"/* sums of rows of {bits}-bit codes over n inputs x; masked, a code has the highest bits of half a word */",
        f"@_apart void @_rows{bits}(const uint32_t *w, const int16_t *x, int n, int rows, int32_t *sum)",
        "{",
        f"    uint32_t mask = UINT32_C(0x{mask:08x});",
        "    @_in_register(mask);",
    ]
    for count in (TOGETHER, 1):
        lines += [f"    for (; rows >= {count}; rows -= {count}, sum += {count}) {{"]
        lines += [*(f"        {line}" for line in _block(count, bits)), "    }"]
    return "\n".join([*lines, "}"])


CODE_HELPERS = {f"rows{bits}": (("load_pair", "dual", "apart", "in_register"), _text(bits)) for bits in BITS}
