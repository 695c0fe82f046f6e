"""Sockets, servers, signals and processes that an ASGI application runs on."""

from .serve import serve
from .settings import Limits, ServeSettings, serve_settings

__all__ = ["Limits", "ServeSettings", "serve", "serve_settings"]
