/* The self-test of a model on a Cortex-M4, then instructions per step.
 *
 * QEMU with -icount shift=0 lets one nanosecond pass per instruction, and SysTick counts the 25 MHz processor clock:
 * a tick is 40 instructions. A loop of known length, measured first, confirms it. */
#include "model.h"
#include <stdio.h>

#define SYSTICK_CONTROL (*(volatile uint32_t *)0xe000e010u)
#define SYSTICK_RELOAD (*(volatile uint32_t *)0xe000e014u)
#define SYSTICK_VALUE (*(volatile uint32_t *)0xe000e018u)
#define TICKS 0xffffffu
#define LOOPS 1000000u
#define STEPS 32

int model_selftest(void);

static model_state state;
static model_input x[STEPS * MODEL_INPUTS];
static model_output y[STEPS * MODEL_OUTPUTS];

static void start(void)
{
    SYSTICK_RELOAD = TICKS;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = 5;
    while (SYSTICK_VALUE == 0) { /* until it has loaded */
    }
}

static uint32_t ticks_since(uint32_t before)
{
    return (before - SYSTICK_VALUE) & TICKS;
}

/* 2 LOOPS instructions */
static void known_loop(void)
{
    uint32_t count = LOOPS;
    __asm__ volatile("1: subs %0, %0, #1\n bne 1b" : "+r"(count) : : "cc");
}

int main(void)
{
    uint32_t random = 1, before, known, ran;
    if (model_selftest() != 0) {
        return 1;
    }
    for (uint32_t i = 0; i < STEPS * MODEL_INPUTS; ++i) {
        random = random * 1664525u + 1013904223u;
        x[i] = (model_input)(random >> 24);
    }
    start();
    before = SYSTICK_VALUE;
    known_loop();
    known = ticks_since(before);
    before = SYSTICK_VALUE;
    model_run(&state, x, STEPS, y);
    ran = ticks_since(before);
    printf("known_instructions %lu known_ticks %lu steps %d ticks %lu state_bytes %lu\n", (unsigned long)(2u * LOOPS),
           (unsigned long)known, STEPS, (unsigned long)ran, (unsigned long)sizeof state);
    return 0;
}
