/* Vector table and reset of a Cortex-M4 without an operating system; output goes to the debugger (semihosting). */
#include <stdint.h>
#include <stdio.h>

extern uint32_t stack_top, data_start, data_end, data_stored, bss_start, bss_end;
extern void initialise_monitor_handles(void);
extern void _exit(int status);
int main(void);

void reset(void)
{
    int status;
    const uint32_t *from = &data_stored;
    for (uint32_t *to = &data_start; to < &data_end; ++to, ++from) {
        *to = *from;
    }
    for (uint32_t *to = &bss_start; to < &bss_end; ++to) {
        *to = 0;
    }
    initialise_monitor_handles();
    status = main();
    fflush(stdout);
    _exit(status);
}

static void fault(void)
{
    _exit(2);
}

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    &stack_top, reset, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, fault, 0, fault, fault,
};
