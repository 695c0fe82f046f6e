"""What of a request reaches the message."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp.commands import Basic

from gateway.amqp.agent.requests import OriginalMessage, build_request
from gateway.amqp.consume.delivery import Delivery
from gateway.amqp.publish.message_builder import MessageBuilder
from gateway.amqp.settings import ProducerSettings
from gateway.config.structs import Backend, Endpoint, GatewaySettings, Service
from gateway.core.proxy import Request
from gateway.core.version import USER_AGENT
from gateway.errors import Unpublishable, ValueMissing

from .codec import Closed, decode_properties, encode_known

HEADERS = [
    (b"host", b"shop.test"),
    (b"content-type", b"application/json"),
    (b"content-encoding", b"gzip"),
    (b"x-order", b"1"),
    (b"x-order", b"2"),
    (b"cc", b"elsewhere"),
]


def builder(
    endpoint: dict[str, Any] | None = None, has_ids: bool = False, **settings: Any
) -> MessageBuilder:
    return MessageBuilder(
        ProducerSettings(exchange="ex", **{"routing_key": "Key", **settings}),
        Backend(),
        Endpoint(**(endpoint or {})),
        Service(extra_config={"gateway": GatewaySettings(request_id=has_ids)}),
    )


def request(query: bytes = b"", headers: Any = HEADERS, **params: str) -> Request:
    return Request("POST", "/", params, headers, query, b"{}", remote="10.0.0.7")


def properties(builder: MessageBuilder, request: Request) -> Basic.Properties:
    _, _, properties = builder.build(request)
    return decode_properties(properties)


@pytest.mark.parametrize("key", ["key", "Key", "{key}"])
def test_a_parameter_of_the_path_is_found_with_and_without_a_capital_letter(key: str) -> None:
    routing_key, _, _ = builder(routing_key=key).build(request(Key="a.b"))
    assert routing_key == b"a.b"


def test_a_static_routing_key_is_used_unchanged() -> None:
    routing_key, _, _ = builder(routing_key="#", static_routing_key=True).build(request())
    assert routing_key == b"#"


def test_values_come_from_the_query_the_headers_and_claims() -> None:
    made = properties(
        builder(
            correlation_id_key="{query.c}",
            reply_to_key="{header.X-Order}",
            type_key="{JWT.sub}",
            app_id_key="{resp0_app}",
            exp_key="ttl",
            priority_key="prio",
            msg_id_key="{query.id}",
        ),
        request(
            b"id=m%201&c=%C3%A4&c=2",
            **{"JWT.sub": "me", "Resp0_app": "shop", "Ttl": "60000", "Prio": "9"},
        ),
    )
    assert made.correlation_id == "ä"
    assert made.reply_to == "1"
    assert made.message_type == "me"
    assert made.app_id == "shop"
    assert made.expiration == "60000"
    assert made.priority == 9
    assert made.message_id == "m 1"


def test_a_property_without_a_value_in_the_request_is_not_set() -> None:
    one = properties(builder(exp_key="ttl", priority_key="p", reply_to_key="r"), request())
    assert (one.expiration, one.priority, one.reply_to) == (None, None, None)
    assert builder().build(request())[0] == b""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("exp_key", "-5"),
        ("exp_key", "1.5"),
        ("exp_key", "4294967296"),
        ("priority_key", "256"),
        ("priority_key", "high"),
        ("reply_to_key", "x" * 256),
        ("msg_id_key", "ä" * 128),
        ("type_key", "\ud800"),
    ],
)
def test_a_value_that_the_broker_would_refuse_is_refused_with_its_name(
    key: str, value: str
) -> None:
    settings: dict[str, Any] = {key: "V"}
    with pytest.raises(Unpublishable, match="V"):
        builder(**settings).build(request(V=value))


@pytest.mark.parametrize("key", ["{JWT.sub}", "JWT.sub", "{resp0_id}", "Resp0_id", "resp1_a.b"])
@pytest.mark.parametrize(
    "setting", ["routing_key", "exp_key", "msg_id_key", "reply_to_key", "priority_key", "type_key"]
)
def test_a_value_that_a_token_or_an_answer_does_not_have_fails_the_backend(
    setting: str, key: str
) -> None:
    settings: dict[str, Any] = {setting: key}
    with pytest.raises(ValueMissing, match=f"no value for {{{key.strip('{}')}}}"):
        builder(**settings).build(request(Key="k"))


def test_a_message_of_an_agent_without_the_value_of_its_routing_key_is_not_published() -> None:
    with pytest.raises(ValueMissing, match=r"{amqp.headers.key}"):
        builder(routing_key="{amqp.headers.key}").build(moved())
    made = builder(routing_key="{amqp.headers.key}").build(moved(headers={"key": "k"}))
    assert made[0] == b"k"


@pytest.mark.parametrize("key", ["{query.k}", "{header.X-K}", "key"])
def test_a_client_that_leaves_out_the_routing_key_is_refused(key: str) -> None:
    with pytest.raises(Unpublishable, match=f"{key.strip('{}')}: missing"):
        builder(routing_key=key).build(request(b"k=", Key=""))


def test_properties_that_a_client_leaves_out_stay_unset() -> None:
    made = properties(
        builder(reply_to_key="{query.r}", exp_key="{header.X-Ttl}", type_key="t"),
        request(Key="k", T=""),
    )
    assert (made.reply_to, made.expiration, made.message_type) == (None, None, None)


@pytest.mark.parametrize("name", ["amq.rabbitmq.reply-to", "amq.rabbitmq.reply-to.g1h2"])
def test_a_reserved_name_to_reply_to_is_refused(name: str) -> None:
    with pytest.raises(Unpublishable, match=r"ReplyTo: .* reserved"):
        builder(reply_to_key="ReplyTo").build(request(Key="k", ReplyTo=name))


def test_the_direct_reply_to_of_a_consumed_message_is_published_unchanged() -> None:
    """RabbitMQ has made it of a request's ``amq.rabbitmq.reply-to``."""
    made = properties(builder(), moved(reply_to="amq.rabbitmq.reply-to.g1h2"))
    assert made.reply_to == "amq.rabbitmq.reply-to.g1h2"


def test_a_routing_key_that_is_too_long_is_refused() -> None:
    with pytest.raises(Unpublishable, match="Key"):
        builder().build(request(Key="x" * 256))


def test_message_ids_are_all_different() -> None:
    build = builder().build
    assert len({build(request())[1] for _ in range(1000)}) == 1000


def test_headers_that_are_listed_become_strings_under_their_canonical_names() -> None:
    made = properties(builder({"input_headers": ("x-order",)}), request())
    assert made.headers == {
        "X-Order": "1, 2",
        "X-Forwarded-For": "10.0.0.7",
        "X-Forwarded-Host": "shop.test",
        "User-Agent": USER_AGENT.decode(),
    }
    assert made.content_type == "application/json"
    assert made.content_encoding == "gzip"


def test_headers_with_a_meaning_for_the_broker_are_never_sent() -> None:
    made = properties(builder({"input_headers": ("*",)}), request())
    assert made.headers is not None
    assert "Cc" not in made.headers


def test_headers_may_be_switched_off_or_listed() -> None:
    assert properties(builder(headers=False), request()).headers is None
    made = properties(builder({"input_headers": ("*",)}, headers=("x-order", "CC")), request())
    assert made.headers == {"X-Order": "1, 2"}


def test_headers_that_are_larger_than_a_frame_are_refused() -> None:
    large = [(b"x-large", b"x" * 100_001)]
    with pytest.raises(Unpublishable, match="headers"):
        builder({"input_headers": ("*",)}).build(request(headers=large))


def moved(**properties: Any) -> Request:
    """The request of an agent whose message has these properties."""
    route = b"\x02ex\x03key"
    delivery = Delivery(Closed(), 1, False, route, encode_known(**properties), b"{}")
    return build_request("q", delivery, True)


def test_a_message_of_an_agent_keeps_its_properties_except_for_the_chosen_ones() -> None:
    made = properties(
        builder(exp_key="{amqp.headers.ttl}", type_key="{amqp.app_id}"),
        moved(message_id="m", app_id="shop", message_type="old", headers={"ttl": "7", "n": 1.5}),
    )
    assert (made.message_id, made.app_id, made.message_type) == ("m", "shop", "shop")
    assert made.expiration == "7"
    assert made.headers == {"ttl": "7", "n": 1.5}


def test_user_id_and_routing_headers_of_a_message_are_not_published_again() -> None:
    made = properties(builder(), moved(user_id="somebody", headers={"CC": ["other"], "a": "b"}))
    assert made.user_id is None
    assert made.headers == {"a": "b"}
    assert made.message_id


def test_a_header_that_is_not_utf_8_is_published_unchanged() -> None:
    request = moved(headers={"raw": "ab"})
    assert isinstance(request.origin, OriginalMessage)
    request.origin = OriginalMessage(request.origin.properties.replace(b"ab", b"\xff\xfe"), False)
    assert b"\x03rawS\0\0\0\x02\xff\xfe" in builder().build(request)[2]


def test_the_properties_of_two_clients_are_not_confused() -> None:
    it = builder()
    first, second = request(), request()
    second.remote = "10.0.0.8"
    assert [properties(it, each).headers["X-Forwarded-For"] for each in (first, second)] == [  # type: ignore[index]
        "10.0.0.7",
        "10.0.0.8",
    ]


@pytest.mark.parametrize(
    ("settings", "mode"),
    [({}, 1), ({"durable": True}, 2), ({"durable": True, "delivery_mode": 1}, 1)],
)
def test_messages_of_a_durable_exchange_are_persistent(settings: Any, mode: int) -> None:
    assert properties(builder(**settings), request()).delivery_mode == mode


def test_each_message_has_the_id_of_its_request() -> None:
    def id_of(builder: MessageBuilder, request_id: bytes) -> object:
        asked = request(headers=[*HEADERS, (b"x-request-id", request_id)], Key="a")
        return (properties(builder, asked).headers or {}).get("X-Request-Id")

    with_ids = builder(has_ids=True)
    assert [id_of(with_ids, each) for each in (b"1", b"2")] == ["1", "2"]
    assert id_of(builder(), b"1") is None
    assert id_of(builder(has_ids=True, headers=False), b"1") is None
