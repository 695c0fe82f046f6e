"""The composition root: the catalogue of components, and the start of a gateway from its file."""
