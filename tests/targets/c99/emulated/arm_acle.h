/* The instructions of Arm's DSP extension that the emitted C uses, in C; signed sums, so that UBSan sees an overflow.
 * Source: Arm C Language Extensions, ACLE Q4 2023, "32-bit SIMD intrinsics". */
#ifndef EMULATED_ARM_ACLE_H
#define EMULATED_ARM_ACLE_H
#include <stdint.h>

#define __builtin_arm_ssat(x, bits) emulated_limit(x, -(1 << ((bits) - 1)), (1 << ((bits) - 1)) - 1)
#define __builtin_arm_ssat16(x, bits) \
    emulated_pair(__builtin_arm_ssat((int16_t)(x), bits), __builtin_arm_ssat((x) >> 16, bits))
#define __builtin_arm_usat(x, bits) emulated_limit(x, 0, (int32_t)((1u << (bits)) - 1u))

static inline int32_t emulated_limit(int32_t x, int32_t lo, int32_t hi)
{
    return x < lo ? lo : x > hi ? hi : x;
}

static inline int32_t emulated_pair(int32_t low, int32_t high)
{
    return (int32_t)(((uint32_t)low & 0xffffu) | ((uint32_t)high << 16));
}

static inline int32_t __sxtb16(int32_t x)
{
    return emulated_pair((int8_t)x, (int8_t)(x >> 16));
}

static inline int32_t __smlad(int32_t a, int32_t b, int32_t sum)
{
    return sum + (int16_t)a * (int16_t)b + (a >> 16) * (b >> 16);
}

static inline int32_t __smlsdx(int32_t a, int32_t b, int32_t sum)
{
    return sum + (int16_t)a * (b >> 16) - (a >> 16) * (int16_t)b;
}

static inline int32_t __smlabb(int32_t a, int32_t b, int32_t sum)
{
    return sum + (int16_t)a * (int16_t)b;
}

static inline int32_t __smlatb(int32_t a, int32_t b, int32_t sum)
{
    return sum + (a >> 16) * (int16_t)b;
}

static inline int32_t __sadd16(int32_t a, int32_t b)
{
    return emulated_pair((int16_t)a + (int16_t)b, (a >> 16) + (b >> 16));
}

#endif
