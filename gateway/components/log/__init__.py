"""The log of the process: where its lines go, and how they look."""
