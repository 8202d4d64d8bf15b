"""Pairs of 16-bit numbers in one word, the first lowest, in C; the DSP extension has an instruction for each."""

from __future__ import annotations

PAIR_HELPERS: dict[str, tuple[tuple[str, ...], str]] = {
    "pair": (
        (),
        """\
/* two 16-bit numbers in a word, the first lowest */
static inline int32_t @_pair(int32_t low, int32_t high)
{
#if defined(@@_DSP) && defined(__arm__) /* no intrinsic has this instruction */
    int32_t both;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(both) : "r"(low), "r"(high));
    return both;
#else
    return (int32_t)(((uint32_t)low & 0xffffu) | ((uint32_t)high << 16));
#endif
}""",
    ),
    "even_bytes": (
        ("pair", "load"),
        """\
/* the first and the third of four bytes, as a pair */
static inline int32_t @_even_bytes(const int8_t *four)
{
#ifdef @@_DSP
    return __sxtb16(@_load(four));
#else
    return @_pair(four[0], four[2]);
#endif
}""",
    ),
    "odd_bytes": (
        ("pair", "load"),
        """\
/* the second and the fourth of four bytes, as a pair */
static inline int32_t @_odd_bytes(const int8_t *four)
{
#if defined(@@_DSP) && defined(__arm__) /* the intrinsic does not rotate */
    int32_t odd, word = @_load(four);
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(word));
    return odd;
#elif defined(@@_DSP)
    return __sxtb16(@_load(four) >> 8);
#else
    return @_pair(four[1], four[3]);
#endif
}""",
    ),
    "low4": (
        (),
        """\
/* the code of 4 bits in the lower half of a byte */
static inline int32_t @_low4(int32_t byte)
{
    return ((byte & 15) ^ 8) - 8;
}""",
    ),
    "int16_at": (
        (),
        """\
/* a 16-bit integer of any alignment, the lower byte first */
static inline int32_t @_int16_at(const int8_t *bytes)
{
#ifdef @@_DSP
    int16_t number;
    __builtin_memcpy(&number, bytes, sizeof number);
    return number;
#else
    return bytes[1] * 256 + (uint8_t)bytes[0];
#endif
}""",
    ),
    "int32_at": (
        ("int16_at", "load"),
        """\
/* a 32-bit integer of any alignment, the lowest byte first */
static inline int32_t @_int32_at(const int8_t *bytes)
{
#ifdef @@_DSP
    return @_load(bytes);
#else
    return @_int16_at(bytes + 2) * 65536 + (uint16_t)@_int16_at(bytes);
#endif
}""",
    ),
    "times_low": (
        (),
        """\
/* sum and the product of a pair's first number with a 16-bit factor */
#ifdef @@_DSP
#define @_times_low(pair, factor, sum) __smlabb(pair, factor, sum)
#else
static inline int32_t @_times_low(int32_t pair, int32_t factor, int32_t sum)
{
    return sum + (int16_t)pair * factor;
}
#endif""",
    ),
    "times_high": (
        (),
        """\
/* sum and the product of a pair's second number with a 16-bit factor */
#ifdef @@_DSP
#define @_times_high(pair, factor, sum) __smlatb(pair, factor, sum)
#else
static inline int32_t @_times_high(int32_t pair, int32_t factor, int32_t sum)
{
    return sum + (pair >> 16) * factor;
}
#endif""",
    ),
    "dual": (
        (),
        """\
/* (w0, w1) (x0, x1): sum + w0 x0 + w1 x1 */
#ifdef @@_DSP
#define @_dual(w, x, sum) __smlad(w, x, sum)
#else
static inline int32_t @_dual(int32_t w, int32_t x, int32_t sum)
{
    return sum + (int16_t)w * (int16_t)x + (w >> 16) * (x >> 16);
}
#endif""",
    ),
    "dual_turned": (
        (),
        """\
/* (w0, w1) (x0, x1): sum + w0 x1 - w1 x0 */
#ifdef @@_DSP
#define @_dual_turned(w, x, sum) __smlsdx(w, x, sum)
#else
static inline int32_t @_dual_turned(int32_t w, int32_t x, int32_t sum)
{
    return sum + (int16_t)w * (x >> 16) - (w >> 16) * (int16_t)x;
}
#endif""",
    ),
    "add_pair": (
        ("pair",),
        """\
/* number by number; both sums fit 16 bits */
#ifdef @@_DSP
#define @_add_pair(a, b) __sadd16(a, b)
#else
static inline int32_t @_add_pair(int32_t a, int32_t b)
{
    return @_pair((int16_t)a + (int16_t)b, (a >> 16) + (b >> 16));
}
#endif""",
    ),
    "saturate_pair": (
        ("pair", "saturate"),
        """\
/* both numbers limited to the range of a signed integer of so many bits */
#ifdef @@_DSP
#define @_saturate_pair(pair, bits) ((int32_t)__builtin_arm_ssat16(pair, bits))
#else
static inline int32_t @_saturate_pair(int32_t pair, int bits)
{
    return @_pair(@_saturate((int16_t)pair, bits), @_saturate(pair >> 16, bits));
}
#endif""",
    ),
    "load_pair": (
        ("pair",),
        """\
static inline int32_t @_load_pair(const int16_t *numbers)
{
#ifdef @@_DSP
    int32_t pair;
    __builtin_memcpy(&pair, numbers, sizeof pair);
    return pair;
#else
    return @_pair(numbers[0], numbers[1]);
#endif
}""",
    ),
    "store_pair": (
        (),
        """\
static inline void @_store_pair(int16_t *numbers, int32_t pair)
{
#ifdef @@_DSP
    __builtin_memcpy(numbers, &pair, sizeof pair);
#else
    numbers[0] = (int16_t)pair;
    numbers[1] = (int16_t)(pair >> 16);
#endif
}""",
    ),
}
