"""Dense rows of 8-bit codes in C, two rows a word: ``256 a + b`` of the codes a and b of two rows at one input.

Over the inputs x, ``t = sum (256 a + b) x`` and ``s = sum b x`` are the products of whole words and of their low bytes;
the rows' sums are ``(t - s) / 256`` and s. A dual multiply-accumulate takes two words at once, and the high bytes need
never be extracted: four instructions for four products, and weights of 8 bits in flash.
"""

from __future__ import annotations

import numpy as np

from ssmc.emit_c.widths import INT8, INT16, CType
from ssmc.ir.rounding import IntArray

#: inputs of one pass of the innermost loop; the first that divides their number is used
UNROLLED = (16, 8, 4)
#: pairs of rows that share what was loaded of x
TOGETHER = 2


def helper(inputs: int) -> str:
    """Name of the helper for so many inputs."""
    return f"row_pairs{next(count for count in UNROLLED if inputs % count == 0)}"


def fits(codes: IntArray, x: CType) -> bool:
    """Whether rows (rows, n) over x can be stored so, and 32 bits hold 257 times every sum."""
    if x != INT8 or len(codes) < 2 or codes.shape[1] % UNROLLED[-1] or np.abs(codes).max(initial=0) > 128:
        return False
    words = _words(codes)
    reach = int(np.abs(codes).sum(1).max(initial=0)) << 7
    return INT16.lo <= words.min() and words.max() <= INT16.hi and 257 * reach < 1 << 31


def _words(codes: IntArray) -> IntArray:
    """(pairs, n) words of two rows each; a last row without a partner is paired with zeros."""
    even = np.concatenate([codes, np.zeros((len(codes) % 2, codes.shape[1]), np.int64)])
    return np.asarray(256 * even[::2] + even[1::2], np.int64)


def pack_pairs(codes: IntArray) -> IntArray:
    """Words in the order in which the helper reads them: by `TOGETHER` pairs, of these two inputs each in turn."""
    words = _words(codes)
    whole = len(words) - len(words) % TOGETHER
    blocks = [words[first : first + TOGETHER] for first in range(0, whole, TOGETHER)]
    blocks += [words[first : first + 1] for first in range(whole, len(words))]
    return np.concatenate([part.reshape(len(part), -1, 2).swapaxes(0, 1).ravel() for part in blocks])


def _block(pairs: int, inputs: int) -> list[str]:
    """C of ``pairs`` pairs of rows over all inputs, so many at once."""
    every = range(pairs)
    lines = [f"int32_t {', '.join(f't{p} = 0, s{p} = 0' for p in every)};"]
    lines += [f"for (int i = 0; i < n; i += {inputs}, w += {inputs * pairs}) {{", "#ifdef @@_DSP"]
    lines += [f"    const int32_t {', '.join(f'x{i} = @_load(x + i{_plus(i)})' for i in range(0, inputs, 2))};"]
    for i in range(0, inputs, 2):
        for p in every:
            word = f"@_load(w{_plus(pairs * i + 2 * p)})"
            lines += [f"    t{p} = __smlad({word}, x{i}, t{p});", f"    s{p} = __smlad(__sxtb16({word}), x{i}, s{p});"]
    lines += ["#else"]
    for p in every:
        places = [(pairs * (i - i % 2) + 2 * p + i % 2, f"x[i{_plus(i)}]") for i in range(inputs)]
        lines += [f"    t{p} += {' + '.join(f'w[{at}] * {x}' for at, x in places)};"]
        lines += [f"    s{p} += {' + '.join(f'(int8_t)w[{at}] * {x}' for at, x in places)};"]
    lines += ["#endif", "}"]
    for p in every:
        lines += [f"sum[{2 * p}] = (t{p} - s{p}) >> 8;", f"sum[{2 * p + 1}] = s{p};"]
    return lines


def _plus(number: int) -> str:
    return f" + {number}" if number else ""


def _text(inputs: int) -> str:
    """A helper's definition."""
    lines = [
        f"/* sums of 2 pairs rows over n inputs x, {inputs} at once; a word is 256 a + b of the weights of two rows */",
        f"@_apart void @_row_pairs{inputs}(const int16_t *w, const int16_t *x, int n, int pairs, int32_t *sum)",
        "{",
    ]
    for count in (TOGETHER, 1):
        lines += [f"    for (; pairs >= {count}; pairs -= {count}, sum += {2 * count}) {{"]
        lines += [line if line.startswith("#") else f"        {line}" for line in _block(count, inputs)]
        lines += ["    }"]
    return "\n".join([*lines, "}"])


ROW_HELPERS = {f"row_pairs{inputs}": (("load", "apart"), _text(inputs)) for inputs in UNROLLED}
