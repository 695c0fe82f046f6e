"""Who may open the page and read its documents: this machine alone, or clients with a login. Pure.

A browser on the operator's machine could be made to ask for the page by another site, whose name
points to this machine (DNS rebinding). So the name in ``Host`` has to be a known one.
"""

from __future__ import annotations

from collections.abc import Container
from ipaddress import ip_address

from ...config.structs import PageSettings
from ...core.asgi import AsgiResponse, Scope, find_header, text

FORWARDED = frozenset(
    (
        *(b"forwarded", b"via", b"x-real-ip", b"cf-connecting-ip", b"true-client-ip"),
        *(b"x-client-ip", b"x-cluster-client-ip", b"x-original-host", b"x-envoy-external-address"),
    )
)
"""Headers of proxies. Behind one, a request from anywhere comes from this machine."""

READ_METHODS = ("GET", "HEAD")
LOCAL_NAME = "localhost"

NOT_HERE = text(
    403,
    "The page can be opened on the gateway's own machine only, at 127.0.0.1. To open it from other "
    'machines set "auth" or "listen_ip" of extra_config.gateway.page.\n',
)
WRONG_HOST = text(
    403,
    "The page cannot be opened under this name. Use the IP address, or add the name to "
    '"hosts" of extra_config.gateway.page.\n',
)
ONLY_READ = text(405, "405 method not allowed", (b"allow", b"GET, HEAD"), charset=False)


class Access:
    """The rules of one configuration."""

    def __init__(self, settings: PageSettings) -> None:
        self._listen_ip = settings.listen_ip
        self._is_local = settings.listen_ip is None and settings.auth is None
        self._hosts = frozenset(each.lower().rstrip(".") for each in settings.hosts)

    def refusal(self, scope: Scope) -> AsgiResponse | None:
        """None: the request is admitted, as far as no login is concerned."""
        if not self._is_address_allowed(scope):
            return NOT_HERE
        if not is_known_host(find_header(scope["headers"], b"host"), self._hosts):
            return WRONG_HOST
        return None if scope["method"] in READ_METHODS else ONLY_READ

    def _is_address_allowed(self, scope: Scope) -> bool:
        server, client = scope.get("server"), scope.get("client")
        if self._is_local:
            is_forwarded = any(
                name in FORWARDED or name.startswith(b"x-forwarded-")
                for name, _ in scope["headers"]
            )
            return _is_loopback(server) and _is_loopback(client) and not is_forwarded
        wanted = self._listen_ip
        if wanted is None or ip_address(wanted).is_unspecified:
            return True
        return _address(server) == str(ip_address(wanted))


def is_known_host(header: bytes, names: Container[str]) -> bool:
    """Whether ``Host`` is an IP address, ``localhost``, or one of ``names``; or there is none, as
    only HTTP/1.0 allows, which no browser speaks. ``names``: in lower case."""
    if not header:
        return True
    name = header.decode("latin-1").strip().lower()
    if name.startswith("["):
        name, _, _ = name[1:].partition("]")
    elif name.count(":") == 1:
        name, _, _ = name.partition(":")
    name = name.rstrip(".")
    if name == LOCAL_NAME or name in names:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _address(place: object) -> str:
    """``place``: address and port, as ASGI has them."""
    if not isinstance(place, tuple | list) or not place:
        return ""
    address = str(place[0])
    return address.removeprefix("::ffff:")  # IPv4 on a socket for both


def _is_loopback(place: object) -> bool:
    try:
        return ip_address(_address(place)).is_loopback
    except ValueError:
        return False
