/* Words in a continuous stream of 16-bit audio: a gate on loudness, and a model of whole recordings between its ends. */
#ifndef DETECT_H
#define DETECT_H

#include "model.h"

#define DETECT_FLOOR 64  /* frames that measure the noise in the beginning */
#define DETECT_BEFORE 4  /* frames in front of the first loud one that the model hears too */
#define DETECT_QUIET 25  /* quiet frames in a row that end a word */
#define DETECT_LEAST 20  /* frames of the shortest word, without the quiet ones */

typedef struct {
    model_state net;                                  /* of the word at hand, reset where one begins */
    int16_t before[DETECT_BEFORE * MODEL_INPUTS];     /* a ring of the newest frames */
    model_output y[MODEL_OUTPUTS];                    /* of the word up to its last loud frame */
    uint32_t frame, first, last;                      /* frames so far; first and last loud one of the word */
    int32_t floor;                                    /* sum of |x| over DETECT_FLOOR frames of noise */
    int open, quiet;                                  /* within a word; quiet frames in a row */
} detector;

/* Where a word ended: its class, and by how many output codes it is ahead of the next. */
typedef struct {
    int found, class, margin;
    uint32_t first, last; /* loud frames */
} detection;

void detect_init(detector *d);

/* MODEL_INPUTS samples; `found` is 1 in the frame in which a word has been over for DETECT_QUIET frames. */
detection detect_frame(detector *d, const int16_t *samples);

#endif
