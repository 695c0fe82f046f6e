"""Checks before the start that AMQP can carry the settings and RabbitMQ accepts them. Pure.

Each function yields pairs: a key that cannot work, and why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TypeAlias

from pamqp.encode import field_table

from ..config.findings import key_path
from ..config.suggest import unknown
from .settings import EXCHANGE_TYPES, AgentSettings, Arguments, ConsumerSettings, ProducerSettings
from .wire.message import MAX_SHORT_STRING_BYTES

Problems: TypeAlias = Iterator[tuple[str, str]]
Settings: TypeAlias = ConsumerSettings | ProducerSettings | AgentSettings

DECLARE = ("create", "passive", "none")
RESPONSES = ("receipt", "")
PROPAGATION = ("parent", "link")

MAX_FIELD_NAME_BYTES = 128
"""Bytes of a name in a table (AMQP 0-9-1, 4.2.5.5)."""

MAX_TABLE_BYTES = 100_000
"""Bytes of an encoded table. A method must fit into one frame; RabbitMQ's default is 131,072."""

MAX_TABLE_DEPTH = 32
"""Levels of nested tables and lists."""

LONG = range(-(2**31), 2**31)
LONG_LONG = range(-(2**63), 2**63)
MILLISECONDS = range(2**32)

INTEGER_ARGUMENTS: Mapping[str, range] = {
    "x-message-ttl": MILLISECONDS,
    "x-expires": range(1, 2**32),
    "x-max-length": range(2**63),
    "x-max-length-bytes": range(2**63),
    "x-max-priority": range(256),
    "x-delivery-limit": LONG_LONG,
    "x-stream-max-segment-size-bytes": range(2**63),
}
"""Arguments that RabbitMQ accepts only as a whole number in this range."""

STRING_ARGUMENTS = frozenset(
    {
        "alternate-exchange",
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-dead-letter-strategy",
        "x-delayed-type",
        "x-max-age",
        "x-overflow",
        "x-queue-leader-locator",
        "x-queue-mode",
        "x-queue-type",
    }
)
"""Arguments that RabbitMQ accepts only as a string."""

REPLICATED_QUEUE_TYPES = ("quorum", "stream")


def verify_consumer(settings: ConsumerSettings) -> Problems:
    yield from _verify_source(settings)
    for place, routing_key in enumerate(settings.routing_key):
        yield from verify_name(f"routing_key[{place}]", routing_key)
    yield from _within("on_empty.status", settings.on_empty.status, range(200, 600))
    if settings.idle_return_seconds < 0:
        yield "idle_return", 'expected a duration that is not negative, or "never"'


def verify_agent(settings: AgentSettings) -> Problems:
    yield from _verify_source(settings)
    if settings.propagation not in PROPAGATION:
        yield "propagation", unknown(settings.propagation, PROPAGATION)
    if settings.dead_letter is not None:
        yield from verify_name("dead_letter.exchange", settings.dead_letter.exchange)
        yield from verify_name("dead_letter.routing_key", settings.dead_letter.routing_key)


def _verify_source(settings: ConsumerSettings | AgentSettings) -> Problems:
    yield from _verify_declared(settings)
    yield from verify_name("consumer_tag", settings.consumer_tag)
    if settings.priority is not None:
        yield from _within("priority", settings.priority, LONG)


def verify_producer(settings: ProducerSettings) -> Problems:
    yield from _verify_declared(settings)
    if settings.static_routing_key:
        yield from verify_name("routing_key", settings.routing_key)
    yield from _within("delivery_mode", settings.delivery_mode, range(3))
    yield from _within("status", settings.status, range(200, 600))
    if settings.response not in RESPONSES:
        yield "response", unknown(settings.response, RESPONSES)


def _verify_declared(settings: Settings) -> Problems:
    for key in ("name", "exchange", "exchange_type"):
        yield from verify_name(key, getattr(settings, key))
    kind = settings.exchange_type
    if kind not in EXCHANGE_TYPES and not kind.startswith("x-"):
        yield "exchange_type", f'{unknown(kind, EXCHANGE_TYPES)}, and types of plugins ("x-...")'
    if settings.declare not in DECLARE:
        yield "declare", unknown(settings.declare, DECLARE)
    for key in ("arguments", "exchange_arguments"):
        yield from _table(key, getattr(settings, key))
        if settings.declare == "create":
            yield from _known_arguments(key, getattr(settings, key))
    if settings.declare == "create":
        yield from _replicated(settings)


def _replicated(settings: Settings) -> Problems:
    kind = settings.arguments.get("x-queue-type")
    if kind not in REPLICATED_QUEUE_TYPES:
        return
    if not settings.durable:
        yield "durable", f"expected true: RabbitMQ refuses a {kind} queue that is not durable"
    for key in ("delete", "exclusive"):
        if getattr(settings, key) and not isinstance(settings, ProducerSettings):
            yield key, f"expected false: RabbitMQ refuses a {kind} queue with it"


def verify_name(key: str, text: str) -> Problems:
    """Check a name, a routing key or a tag: AMQP carries it as a short string."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        yield key, "expected a string that can be encoded as UTF-8"
        return
    if size > MAX_SHORT_STRING_BYTES:
        yield key, f"expected at most {MAX_SHORT_STRING_BYTES} bytes, found {size}"


def _within(key: str, number: int, allowed: range) -> Problems:
    if number not in allowed:
        yield key, f"expected {allowed[0]} to {allowed[-1]}, found {number}"


def _known_arguments(key: str, arguments: Mapping[str, object]) -> Problems:
    for name, value in arguments.items():
        where = key_path(key, name)
        if allowed := INTEGER_ARGUMENTS.get(name):
            if not isinstance(value, int) or isinstance(value, bool):
                yield where, "expected a whole number: RabbitMQ accepts nothing else"
            else:
                yield from _within(where, value, allowed)
        elif name in STRING_ARGUMENTS and not isinstance(value, str):
            yield where, "expected a string: RabbitMQ accepts nothing else"
        elif name == "x-single-active-consumer" and not isinstance(value, bool):
            yield where, "expected true or false: RabbitMQ accepts nothing else"


def _table(key: str, table: Arguments) -> Problems:
    problems = [*_unfit(key, table, MAX_TABLE_DEPTH)]
    yield from problems
    if not problems and (size := len(field_table(dict(table)))) > MAX_TABLE_BYTES:
        yield key, f"expected at most {MAX_TABLE_BYTES} bytes, found {size}"


def _unfit(path: str, value: object, depth: int) -> Problems:
    """What an AMQP table cannot carry."""
    if isinstance(value, bool | float | datetime) or value is None:
        return
    if isinstance(value, int):
        yield from _within(path, value, LONG_LONG)
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            yield path, "expected a string that can be encoded as UTF-8"
    elif not isinstance(value, Mapping | list | tuple):
        yield path, "expected a string, a number, true, false, null, a list or an object"
    elif not depth:
        yield path, f"expected at most {MAX_TABLE_DEPTH} levels"
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            where = key_path(path, name)
            if len(name.encode(errors="replace")) > MAX_FIELD_NAME_BYTES:
                yield where, f"expected a name of at most {MAX_FIELD_NAME_BYTES} bytes"
            yield from _unfit(where, inner, depth - 1)
    else:
        for place, inner in enumerate(value):
            yield from _unfit(f"{path}[{place}]", inner, depth - 1)
