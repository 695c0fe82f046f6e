"""The cases of lura's own integration test, read from a clone of it, against this gateway.

Nothing of lura is here: the clone brings its cases and its configuration.
"""
