"""Graph passes, one transformation per file; a target lists those it runs (`ssmc.targets`)."""
