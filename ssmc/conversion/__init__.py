"""How a converter meets a column of a crossbar: steps and ranges, for the crossbar target and for training."""
