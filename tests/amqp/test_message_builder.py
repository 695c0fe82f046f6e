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
from gateway.telemetry.propagation import Incoming, Propagation
from gateway.telemetry.spans import SpanBuffer, SpanContext, SpanKind
from gateway.telemetry.tracing import Tracer

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
    endpoint: dict[str, Any] | None = None,
    has_ids: bool = False,
    tracer: Tracer | None = None,
    **settings: Any,
) -> MessageBuilder:
    return MessageBuilder(
        ProducerSettings(exchange="ex", **{"routing_key": "Key", **settings}),
        Backend(),
        Endpoint(**(endpoint or {})),
        Service(extra_config={"gateway": GatewaySettings(request_id=has_ids)}),
        tracer,
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


# Trace contexts.

CONTEXT = SpanContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", False, "a=1")
EVERY_HEADER = {"input_headers": ("*",)}


def tracer(*buffers: SpanBuffer, formats: tuple[str, ...] = ("tracecontext", "baggage")) -> Tracer:
    return Tracer(Propagation(formats), buffers, 0.0)


def contexts(made: Basic.Properties) -> dict[str, Any]:
    """The headers of the message whose names are those of a trace context, in any letter case."""
    names = ("traceparent", "tracestate", "baggage", "b3")
    headers = dict(made.headers or {})
    return {name: value for name, value in headers.items() if name.lower() in names}


@pytest.mark.parametrize("headers", [True, False, ["X-Order"]])
def test_a_message_has_the_context_of_its_request_whatever_its_lists_say(headers: Any) -> None:
    traced = tracer()
    asked = request(headers=[*HEADERS, (b"traceparent", b"00-1-2-01"), (b"baggage", b"other=1")])
    asked.trace = traced.start(Incoming(CONTEXT, b"k=v"))
    made = properties(builder(EVERY_HEADER, tracer=traced, headers=headers), asked)
    assert contexts(made) == {
        "traceparent": f"00-{CONTEXT.trace_id}-{CONTEXT.span_id}-00",
        "tracestate": "a=1",
        "baggage": "k=v",
    }
    others = {name for name in made.headers or {} if name not in contexts(made)}
    assert ("X-Order" in others) == bool(headers)
    assert (made.content_type, made.content_encoding) == ("application/json", "gzip")


def test_a_request_without_a_trace_has_a_message_without_a_context() -> None:
    asked = request(headers=[(b"traceparent", b"00-1-2-01")])
    made = properties(builder(EVERY_HEADER, tracer=tracer()), asked)
    assert contexts(made) == {}
    assert made.message_id


def test_a_context_and_chosen_properties_are_in_one_message() -> None:
    traced = tracer()
    asked = request(b"c=1", Prio="9", Type="t")
    asked.trace = traced.start(Incoming(CONTEXT))
    made = properties(
        builder(
            tracer=traced, correlation_id_key="{query.c}", priority_key="prio", type_key="type"
        ),
        asked,
    )
    assert (made.correlation_id, made.priority, made.message_type) == ("1", 9, "t")
    assert set(contexts(made)) == {"traceparent", "tracestate"}


def test_each_request_without_a_sampled_parent_has_a_trace_of_its_own() -> None:
    traced = tracer(SpanBuffer())
    made = builder(tracer=traced)
    found = set()
    for _ in range(10):
        asked = request()
        asked.trace = traced.start()
        found.add(contexts(properties(made, asked))["traceparent"])
    assert len(found) == 10
    assert all(each.startswith("00-") and each.endswith("-00") for each in found)


def test_requests_that_differ_in_their_context_only_share_encoded_properties() -> None:
    """Otherwise each of them would be encoded anew."""
    traced = tracer()
    made = builder(EVERY_HEADER, tracer=traced)
    for number in range(3):
        properties(made, request(headers=[*HEADERS, (b"traceparent", b"%d" % number)]))
    assert len(made._shared_by_headers) == 1


def test_the_span_of_a_publish_has_the_names_of_its_message() -> None:
    traced = Tracer(Propagation(), [SpanBuffer()])
    asked = request(b"c=7", Key="a.b")
    asked.trace = trace = traced.start().child("publish", SpanKind.PRODUCER, {})  # type: ignore[union-attr]
    made = properties(builder(tracer=traced, correlation_id_key="{query.c}"), asked)
    assert trace.span is not None
    assert trace.span.attributes == {
        "messaging.destination.name": "ex:a.b",
        "messaging.rabbitmq.destination.routing_key": "a.b",
        "messaging.message.id": made.message_id,
        "messaging.message.conversation_id": "7",
    }
    assert trace.span.context.span_id in contexts(made)["traceparent"]


def test_the_message_of_an_agent_has_one_context_and_one_request_id() -> None:
    traced = tracer()
    sent = {"Traceparent": "00-1-2-01", "x-request-id": 7, "X-Tenant": "t"}
    known = encode_known(message_id="m-1", headers=sent)
    delivery = Delivery(Closed(), 1, False, b"\x00\x01q", known, b"{}")
    asked = build_request("q", delivery, True, has_id=True, propagation=traced.propagation)
    asked.trace = traced.start(Incoming(CONTEXT._replace(state="")))
    made = properties(builder(tracer=traced, has_ids=True, routing_key="k"), asked)
    assert made.headers == {
        "X-Tenant": "t",
        "traceparent": f"00-{CONTEXT.trace_id}-{CONTEXT.span_id}-00",
        "X-Request-Id": dict(asked.headers)[b"x-request-id"].decode(),
    }


def test_the_request_of_an_agent_has_no_header_with_the_context_of_its_message() -> None:
    """Its backends get the context of their own spans."""
    w3c = f"00-{CONTEXT.trace_id}-{CONTEXT.span_id}-01"
    known = encode_known(headers={"Traceparent": w3c, "baggage": "k=v", "x-a": "1"})
    delivery = Delivery(Closed(), 1, False, b"\x00\x01q", known, b"{}")
    asked = build_request("q", delivery, True, propagation=tracer().propagation)
    names = {name for name, _ in asked.headers}
    assert b"x-amqp-header-x-a" in names
    assert not names & {b"traceparent", b"baggage"}
    assert asked.origin.incoming == Incoming(
        SpanContext(CONTEXT.trace_id, CONTEXT.span_id, True), b"k=v"
    )
