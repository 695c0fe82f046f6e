"""The composition root: every component in its order, and a configuration as a running gateway."""
