#include "detect.h"

void detect_init(detector *d)
{
    d->frame = d->first = d->last = 0;
    d->floor = 0;
    d->open = d->quiet = 0;
    for (int i = 0; i < DETECT_BEFORE * MODEL_INPUTS; ++i) {
        d->before[i] = 0;
    }
}

static int32_t loudness(const int16_t *samples)
{
    int32_t sum = 0;
    for (int i = 0; i < MODEL_INPUTS; ++i) {
        sum += samples[i] < 0 ? -samples[i] : samples[i];
    }
    return sum;
}

static void hear(detector *d, const int16_t *samples)
{
    model_input codes[MODEL_INPUTS];
    model_quantize(samples, codes);
    model_step(&d->net, codes);
}

/* A new word: the model's state begins anew, with the frames before the first loud one. */
static void begin(detector *d)
{
    model_init(&d->net);
    for (uint32_t i = 0; i < DETECT_BEFORE; ++i) {
        hear(d, d->before + (d->frame + i) % DETECT_BEFORE * MODEL_INPUTS);
    }
    d->open = 1;
    d->quiet = 0;
    d->first = d->frame;
}

static detection decide(const detector *d)
{
    detection made = { 0, 0, 0, d->first, d->last };
    int second = -1;
    for (int c = 1; c < MODEL_OUTPUTS; ++c) {
        made.class = d->y[c] > d->y[made.class] ? c : made.class;
    }
    for (int c = 0; c < MODEL_OUTPUTS; ++c) {
        second = c != made.class && (second < 0 || d->y[c] > d->y[second]) ? c : second;
    }
    made.margin = d->y[made.class] - d->y[second];
    made.found = d->last - d->first + 1 >= DETECT_LEAST;
    return made;
}

detection detect_frame(detector *d, const int16_t *samples)
{
    detection none = { 0, 0, 0, 0, 0 };
    const int32_t level = loudness(samples), scaled = DETECT_FLOOR * level;
    if (d->frame < DETECT_FLOOR) {
        d->floor += level;
    } else if (!d->open && scaled > 2 * d->floor) {
        begin(d);
    }
    if (d->open) {
        const int loud = 2 * scaled >= 3 * d->floor;
        if (!loud && d->quiet == 0) {
            model_finish(&d->net, d->y); /* the state stays: the word may go on */
        }
        hear(d, samples);
        d->quiet = loud ? 0 : d->quiet + 1;
        d->last = loud ? d->frame : d->last;
        if (d->quiet == DETECT_QUIET) {
            d->open = 0;
            none = decide(d);
        }
    }
    for (int i = 0; i < MODEL_INPUTS; ++i) {
        d->before[d->frame % DETECT_BEFORE * MODEL_INPUTS + (uint32_t)i] = samples[i];
    }
    d->frame += 1;
    return none;
}
