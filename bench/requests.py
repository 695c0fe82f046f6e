"""The calls of a scenario as bytes of HTTP/1.1."""

from __future__ import annotations

from .load.plan import Request
from .messages import template
from .scenario import Call


def request_of(call: Call) -> Request:
    headers = f"{call.method} {call.path} HTTP/1.1\r\nHost: bench\r\n"
    headers += "".join(f"{name}: {value}\r\n" for name, value in call.headers.items())
    if not call.body_bytes:
        return Request(f"{headers}\r\n".encode(), weight=call.weight)
    before, after = template(call.body_bytes)
    length = len(before) + 12 + len(after)
    headers += f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    return Request(headers.encode() + before, after, is_numbered=True, weight=call.weight)
