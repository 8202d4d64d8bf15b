"""What stands between Python and a model's C on this machine: batches, lengths, real inputs. Not shipped."""

from __future__ import annotations

from ssmc.emit_c.emit import Emitted
from ssmc.emit_c.text import counts_outputs, has_finish, per_step

#: numpy dtype -> C type of real inputs that are read as they are; others are converted to float64
READ = {"float64": "double", "float32": "float", "int16": "int16_t"}

_COMMON = """\
#include "@.h"
#include <math.h>
#include <stddef.h>
#include <string.h>

const int64_t glue_state_bytes = (int64_t)sizeof(@_state);
const int64_t glue_offsets[] = { @OFFSETS };

void glue_init(@_state *states, int64_t n)
{
    for (int64_t i = 0; i < n; ++i) {
        @_init(&states[i]);
    }
}

/* one step of n samples; after holds what each would become, states only change where active */
void glue_step(@_state *states, @_state *after, int64_t n, const @_input *x, const uint8_t *active, @_output *y)
{
    for (int64_t i = 0; i < n; ++i) {
        memcpy(&after[i], &states[i], sizeof(@_state));
        @STEP(&after[i], x + i * @INPUTS@Y);
        if (active[i]) {
            memcpy(&states[i], &after[i], sizeof(@_state));
        }
    }
    (void)y;
}
"""

_FINISH = """\

void glue_finish(@_state *states, int64_t n, @_output *y)
{
    for (int64_t i = 0; i < n; ++i) {
        @_finish(&states[i], y + i * @OUTPUTS);
    }
}
"""

_QUANTIZE = """\

void glue_quantize_@T(const @C *x, int64_t n, const double *scale, @_input *codes)
{
    for (int64_t i = 0; i < n; ++i) {
        for (int c = 0; c < @INPUTS; ++c) {
            const double code = rint((double)x[i * @INPUTS + c] / scale[c]);
            codes[i * @INPUTS + c] = (@_input)(code < @LO ? @LO : code > @HI ? @HI : code);
        }
    }
}

/* samples first..last of a padded batch (n, steps, inputs), rows outputs a sample */
void glue_run_@T(@_state *state, const @C *x, int64_t steps, const int64_t *lengths, const double *scale,
                 @_output *y, int64_t rows, int64_t first, int64_t last)
{
    @_input codes[@INPUTS];
    for (int64_t i = first; i < last; ++i) {
        int64_t row = 0;
        @_init(state);
        for (int64_t t = 0; t < lengths[i]; ++t) {
            glue_quantize_@T(x + (i * steps + t) * @INPUTS, 1, scale, codes);
            @ADD@STEP(state, codes@YT);
        }
        @END
        (void)row;
        (void)rows;
    }
}
"""


def glue_text(model: Emitted, offsets: list[str]) -> str:
    """The C file; ``offsets`` are the members whose place in the state Python asks for."""
    first = model.program.values[model.program.ops[0].output].quant
    stepwise = per_step(model.program)
    outputs = str(model.program.output_size)
    places = ", ".join(f"(int64_t)offsetof({model.prefix}_state, {name})" for name in offsets) or "0"
    at_sample = f", y + i * {outputs}" if stepwise else ""
    counted = counts_outputs(model.program)
    at_time = f", y + (i * rows + {'row' if counted else 't'}) * {outputs}" if stepwise else ""
    place = f"(i * rows + row) * {outputs}" if counted else f"i * {outputs}"
    end = f"{model.prefix}_finish(state, y + {place});" if has_finish(model.program) else "(void)y;"
    text = _COMMON + (_FINISH if has_finish(model.program) else "")
    text += "".join(_QUANTIZE.replace("@T", name).replace("@C", ctype) for name, ctype in READ.items())
    pairs = [
        ("@OFFSETS", places), ("@OUTPUTS", outputs), ("@INPUTS", str(model.program.input_size)),
        ("@ADD", "row += " if counted else ""),
        ("@STEP", f"{model.prefix}_step"), ("@YT", at_time), ("@Y", at_sample), ("@END", end),
        ("@LO", str(first.lo)), ("@HI", str(first.hi)), ("@", model.prefix),
    ]  # fmt: skip
    for key, value in pairs:
        text = text.replace(key, value)
    return text
