"""What a tile program costs: energy events, durations, area, and where every figure comes from."""
