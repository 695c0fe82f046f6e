"""One file per namespace: its settings, its stage. Rows stand in ``catalog.py``."""
