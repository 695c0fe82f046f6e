"""Sockets, servers, signals, processes: how an ASGI application meets the world."""

from .serve import serve
from .settings import Limits, ServeSettings, serve_settings

__all__ = ["Limits", "ServeSettings", "serve", "serve_settings"]
