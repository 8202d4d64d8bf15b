"""Programs as native code on this machine: building the emitted C, and an executor that runs it."""
