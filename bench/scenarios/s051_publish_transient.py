"""Publish messages that the broker keeps in memory only, confirmed."""

from __future__ import annotations

from typing import Any

from ..process import endpoint, producer
from ..scenario import BROKER, Call, Queue, Scenario


def publish_transient(
    name: str,
    title: str,
    *,
    guarded_by: dict[str, Any] | None = None,
    service: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> Scenario:
    """``guarded_by``: the endpoint's ``extra_config``; ``service``: the root's."""
    publish = producer(BROKER, "ex", delivery_mode=1)
    return Scenario(
        name=name,
        title=title,
        endpoints=(endpoint("/", publish, method="POST", extra_config=guarded_by or {}),),
        extra_config=service or {},
        queues=(Queue("q", is_full=False, routing_key="key"),),
        calls=(Call("POST", body_bytes=130, headers=headers or {}),),
    )


SCENARIO = publish_transient("publish-transient", "publish, transient")
