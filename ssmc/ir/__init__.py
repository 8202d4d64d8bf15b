"""Numbers, operations, graphs and programs: what everything else is made of."""
