/* Reads frames of 16-bit samples from stream.bin and prints every word that the detector finds. */
#include "detect.h"
#include <stdio.h>

static detector state;

int main(void)
{
    int16_t samples[MODEL_INPUTS];
    FILE *in = fopen("stream.bin", "rb");
    if (in == NULL) {
        return 1;
    }
    detect_init(&state);
    while (fread(samples, sizeof samples, 1, in) == 1) {
        const detection word = detect_frame(&state, samples);
        if (word.found) {
            printf("word %lu %lu %d %d\n", (unsigned long)word.first, (unsigned long)word.last, word.class, word.margin);
        }
    }
    return fclose(in) != 0;
}
