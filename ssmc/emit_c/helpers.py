"""The small C functions that layers share; a file gets those it uses.

``@`` stands for the prefix of its names, ``@@`` for the same in capitals.
"""

from __future__ import annotations

from ssmc.emit_c.pair_helpers import PAIR_HELPERS
from ssmc.emit_c.row_codes import CODE_HELPERS
from ssmc.emit_c.row_pairs import ROW_HELPERS

#: in front of helpers that have a second form for Arm's DSP extension
DSP = """\
/* Arm with the DSP extension (Cortex-M4, M7, M33 and later): the same integers in fewer instructions */
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP) && !defined(__ARM_BIG_ENDIAN)
#include <arm_acle.h>
#define @@_DSP
#endif"""

#: name -> (names of helpers it needs, text)
HELPERS: dict[str, tuple[tuple[str, ...], str]] = {
    "apart": (
        (),
        """\
/* a function whose loops need all registers: inlined, they would be shared with those of the layers around it */
#ifdef __GNUC__
#define @_apart static __attribute__((noinline))
#else
#define @_apart static
#endif""",
    ),
    "clamp32": (
        (),
        """\
/* x limited to lo..hi */
static inline int32_t @_clamp32(int32_t x, int32_t lo, int32_t hi)
{
    x = x < lo ? lo : x;
    return x > hi ? hi : x;
}""",
    ),
    "saturate": (
        (),
        """\
/* x limited to the range of a signed integer of so many bits */
#ifdef @@_DSP
#define @_saturate(x, bits) ((int32_t)__builtin_arm_ssat(x, bits))
#else
static inline int32_t @_saturate(int32_t x, int bits)
{
    const int32_t hi = (INT32_C(1) << (bits - 1)) - 1;
    x = x < -hi - 1 ? -hi - 1 : x;
    return x > hi ? hi : x;
}
#endif""",
    ),
    "saturate_unsigned": (
        (),
        """\
/* x limited to the range of an unsigned integer of so many bits */
#ifdef @@_DSP
#define @_saturate_unsigned(x, bits) ((int32_t)__builtin_arm_usat(x, bits))
#else
static inline int32_t @_saturate_unsigned(int32_t x, int bits)
{
    const int32_t hi = (int32_t)((UINT32_C(1) << bits) - 1);
    x = x < 0 ? 0 : x;
    return x > hi ? hi : x;
}
#endif""",
    ),
    "even_shift32": (
        (),
        """\
/* x / 2^shift of x to which half a unit was added: rounded to nearest, ties (now whole) to even */
static inline int32_t @_even_shift32(int32_t x, int32_t shift)
{
    return (x - ((x >> shift) & 1)) >> shift;
}""",
    ),
    "clamp64": (
        (),
        """\
/* x limited to lo..hi, which are codes */
static inline int32_t @_clamp64(int64_t x, int32_t lo, int32_t hi)
{
    x = x < lo ? lo : x;
    return (int32_t)(x > hi ? hi : x);
}""",
    ),
    "round_shift32": (
        (),
        """\
/* x / 2^shift, rounded to nearest, ties to even: add half less one, and one more where the quotient is odd */
static inline int32_t @_round_shift32(int32_t x, int32_t shift)
{
    const int32_t rest = (int32_t)((INT32_C(1) << shift) - 1);
    return (x + (rest >> 1) + ((x >> shift) & rest & 1)) >> shift;
}""",
    ),
    "round_shift64": (
        (),
        """\
/* x / 2^shift, rounded to nearest, ties to even: add half less one, and one more where the quotient is odd */
static inline int64_t @_round_shift64(int64_t x, int32_t shift)
{
    const int64_t rest = (INT64_C(1) << shift) - 1;
    return (x + (rest >> 1) + ((x >> shift) & rest & 1)) >> shift;
}""",
    ),
    "round_divide32": (
        (),
        """\
/* x / divisor, rounded to nearest, ties to even; divisor > 0 */
static inline int32_t @_round_divide32(int32_t x, int32_t divisor)
{
    int32_t quotient = x / divisor, rest = x % divisor;
    if (rest < 0) {
        quotient -= 1;
        rest += divisor;
    }
    if (rest > divisor - rest || (rest == divisor - rest && (quotient & 1) != 0)) {
        quotient += 1;
    }
    return quotient;
}""",
    ),
    "round_divide64": (
        (),
        """\
/* x / divisor, rounded to nearest, ties to even; divisor > 0 */
static inline int64_t @_round_divide64(int64_t x, int64_t divisor)
{
    int64_t quotient = x / divisor, rest = x % divisor;
    if (rest < 0) {
        quotient -= 1;
        rest += divisor;
    }
    if (rest > divisor - rest || (rest == divisor - rest && (quotient & 1) != 0)) {
        quotient += 1;
    }
    return quotient;
}""",
    ),
    "reached32": (
        (),
        """\
/* how many of the n rising steps x has reached */
static inline int32_t @_reached32(const int32_t *steps, int32_t n, int32_t x)
{
    int32_t first = 0;
    while (n > 0) {
        const int32_t half = n / 2;
        if (steps[first + half] <= x) {
            first += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return first;
}""",
    ),
    "reached64": (
        (),
        """\
/* how many of the n rising steps x has reached */
static inline int32_t @_reached64(const int64_t *steps, int32_t n, int64_t x)
{
    int32_t first = 0;
    while (n > 0) {
        const int32_t half = n / 2;
        if (steps[first + half] <= x) {
            first += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return first;
}""",
    ),
    "unpack1": (
        (),
        """\
/* n codes of 1 bit (0 is -1, 1 is +1), eight a byte, the first lowest */
static inline void @_unpack1(const uint8_t *packed, int8_t *codes, int n)
{
    for (int i = 0; i < n; ++i) {
        codes[i] = (int8_t)(2 * ((packed[i >> 3] >> (i & 7)) & 1) - 1);
    }
}""",
    ),
    "unpack2": (
        (),
        """\
/* n codes of 2 bits, two's complement, four a byte, the first lowest */
static inline void @_unpack2(const uint8_t *packed, int8_t *codes, int n)
{
    for (int i = 0; i < n; ++i) {
        codes[i] = (int8_t)((((packed[i >> 2] >> (2 * (i & 3))) & 3) ^ 2) - 2);
    }
}""",
    ),
    "unpack4": (
        (),
        """\
/* n codes of 4 bits, two's complement, two a byte, the first lowest */
static inline void @_unpack4(const uint8_t *packed, int8_t *codes, int n)
{
    for (int i = 0; i < n; ++i) {
        codes[i] = (int8_t)((((packed[i >> 1] >> (4 * (i & 1))) & 15) ^ 8) - 8);
    }
}""",
    ),
    "in_register": (
        (),
        """\
/* a constant that stays in a register, where another operand of the instruction can be shifted or added to */
#ifdef @@_DSP
#define @_in_register(constant) __asm__("" : "+r"(constant))
#else
#define @_in_register(constant) (void)(constant)
#endif""",
    ),
    "load": (
        (),
        """\
#ifdef @@_DSP
/* four bytes of any alignment as a word, the first lowest */
static inline int32_t @_load(const void *bytes)
{
    int32_t word;
    __builtin_memcpy(&word, bytes, sizeof word);
    return word;
}
#endif""",
    ),
    **PAIR_HELPERS,
    "widen": (
        (),
        """\
/* n bytes as 16-bit integers */
static inline void @_widen(const int8_t *bytes, int16_t *wide, int n)
{
    for (int i = 0; i < n; ++i) {
        wide[i] = bytes[i];
    }
}""",
    ),
    **ROW_HELPERS,
    **CODE_HELPERS,
    "half_byte": (
        (),
        """\
/* a number of 4 bits, of two a byte, the first lowest */
static inline int32_t @_half_byte(const uint8_t *packed, int32_t index)
{
    return packed[index >> 1] >> (4 * (index & 1)) & 15;
}""",
    ),
    "multiply_wide": (
        (),
        """\
/* the 128-bit product a b, high word first */
static inline void @_multiply_wide(uint64_t a, uint64_t b, uint64_t product[2])
{
    const uint64_t low = UINT64_C(0xffffffff);
    const uint64_t ll = (a & low) * (b & low), lh = (a & low) * (b >> 32);
    const uint64_t hl = (a >> 32) * (b & low), hh = (a >> 32) * (b >> 32);
    const uint64_t middle = (ll >> 32) + (lh & low) + (hl & low);
    product[0] = hh + (lh >> 32) + (hl >> 32) + (middle >> 32);
    product[1] = (middle << 32) | (ll & low);
}""",
    ),
    "mean_wide": (
        ("multiply_wide",),
        """\
/* the largest code q of lo..hi that num total / (den steps) rounds to, or exceeds, ties to even:
 * 2 num total is compared with (2q - 1) den steps, both as signed 128-bit products */
static int32_t @_mean_wide(int64_t num, int64_t den, int64_t total, uint32_t steps, int32_t lo, int32_t hi)
{
    const int negative = total < 0;
    uint64_t have[2], need[2];
    @_multiply_wide(2u * (uint64_t)num, negative ? 0u - (uint64_t)total : (uint64_t)total, have);
    while (lo < hi) {
        const int32_t q = lo + (hi - lo + 1) / 2;
        const int64_t edge = 2 * (int64_t)q - 1;
        int more, equal;
        @_multiply_wide((uint64_t)(edge < 0 ? -edge : edge) * (uint64_t)den, steps, need);
        more = have[0] != need[0] ? have[0] > need[0] : have[1] > need[1];
        equal = have[0] == need[0] && have[1] == need[1] && negative == (edge < 0);
        if (negative != (edge < 0)) {
            more = edge < 0;
        } else if (negative) {
            more = !more;
        }
        if (equal ? (q & 1) == 0 : more) {
            lo = q;
        } else {
            hi = q - 1;
        }
    }
    return lo;
}""",
    ),
    "square_root": (
        (),
        """\
/* the integer square root of x < 2^62, bit by bit */
static inline uint64_t @_square_root(uint64_t x)
{
    uint64_t root = 0;
    for (uint64_t bit = UINT64_C(1) << 60; bit != 0; bit >>= 2) {
        if (x >= root + bit) {
            x -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
    }
    return root;
}""",
    ),
}


def helper_text(used: set[str], prefix: str) -> str:
    """The helpers used, and those they need, in the order of the table."""
    needed = set(used)
    for name in reversed(HELPERS):
        needed.update(HELPERS[name][0] if name in needed else ())
    texts = [text for name, (_, text) in HELPERS.items() if name in needed]
    texts = [DSP, *texts] if any("@@_DSP" in text for text in texts) else texts
    return "\n\n".join(texts).replace("@@", prefix.upper()).replace("@", prefix)
