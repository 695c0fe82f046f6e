"""KrakenD's own integration specs, run against this gateway: ``scripts/krakend-specs CLONE``.

Configuration, scripts and specs are read from a clone of krakend-ce. See docs/compatibility.md.
"""
