"""What the gateway calls itself."""

from __future__ import annotations

from importlib.metadata import version

VERSION = version("hutch-gateway")
USER_AGENT = f"Hutch Version {VERSION}".encode()
"""What HTTP backends see, in the form KrakenD uses."""
