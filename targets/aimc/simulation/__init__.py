"""A chip that runs the tile program: ideal, or with the noise of its devices."""
