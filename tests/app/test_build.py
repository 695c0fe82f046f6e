"""Pipes as configurations ask for them, with backends made of a few lines."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

import pytest
from anyio import Event, fail_after, sleep_forever
from msgspec import Struct

from gateway.app.build import build_pipe
from gateway.components import proxy
from gateway.config.load import load
from gateway.config.structs import Backend, Endpoint
from gateway.core.bridge import open_asyncio_side
from gateway.core.component import Assembly, Catalog, Component
from gateway.core.pipe import coroutine_of
from gateway.core.proxy import COMPLETE, INCOMPLETE, Branch, Request, Response
from gateway.encoding.manipulation import build_reading
from gateway.errors import GatewayError

pytestmark = pytest.mark.anyio


class NoSettings(Struct, frozen=True):
    """Of a backend that has none."""


class Backends:
    """Answers what stands in the ``url_pattern``: "/a=1&b=2" is an object, some words do more."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.shadowed = Event()

    def build(
        self, settings: NoSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
    ) -> Branch:
        word = backend.url_pattern
        read = build_reading(backend)

        async def proxy(request: Request) -> Response:
            self.called.append(word)
            if word == "/fails":
                raise GatewayError("no")
            if word == "/never":
                await sleep_forever()
            if word == "/shadow":
                self.shadowed.set()
            if word.startswith("/tell/"):
                name = word.removeprefix("/tell/{resp").removesuffix("}")
                return Response({"value": request.params["Resp" + name]})
            data = read(json.dumps(dict(parse_qsl(word[1:]))).encode())
            return Response(data, INCOMPLETE if data is None else COMPLETE)

        return Branch(proxy, may_repeat=True, reads_body=False)

    def catalog(self) -> Catalog:
        own = Component("backend/test", NoSettings, backend=self.build, is_default=True)
        known = ("json", "no-op")
        return Catalog(encodings=known, output_encodings=known).extended(own, proxy.COMPONENT)


def backend(url_pattern: str, **keys: Any) -> dict[str, Any]:
    settings = keys.pop("proxy", {})
    extra = {"proxy": settings} if settings else {}
    return {"url_pattern": url_pattern, "host": ["http://a.test"], "extra_config": extra, **keys}


async def ask(
    *backends: dict[str, Any], backends_are: Backends | None = None, **keys: Any
) -> Response:
    known = backends_are or Backends()
    settings = keys.pop("proxy", {})
    document = {
        "version": 3,
        "endpoints": [
            {
                "endpoint": "/a",
                "backend": list(backends),
                "extra_config": {"proxy": settings},
                **keys,
            }
        ],
    }
    catalog = known.catalog()
    [endpoint] = load(document, catalog, {}).service.endpoints
    async with open_asyncio_side() as side:
        assembly = Assembly(load(document, catalog, {}).service, catalog, side)
        pipe = build_pipe(endpoint, assembly)
        request = Request("GET", "/a", {}, deadline=side.time() + endpoint.timeout)
        with fail_after(5):
            if "shadows" not in assembly.resources:
                return await coroutine_of(pipe)(request)
            async with assembly.resources["shadows"].opened():
                response = await coroutine_of(pipe)(request)
                await known.shadowed.wait()
                return response


async def test_several_backends_are_merged() -> None:
    response = await ask(backend("/a=1"), backend("/b=2", group="g"))
    assert response.is_complete
    assert (response.data or {}).keys() == {"a", "g"}


async def test_a_sequence_fills_placeholders_of_later_paths() -> None:
    response = await ask(
        backend("/id=7", mapping={"id": "key"}),
        backend("/tell/{resp0_key}"),
        proxy={"sequential": True},
    )
    assert (response.data or {})["value"] == "7"
    assert response.is_complete


async def test_propagated_values_reach_backends_that_do_not_name_them() -> None:
    response = await ask(
        backend("/id=7"),
        backend("/tell/{resp0_id}"),
        proxy={"sequential": True, "sequential_propagated_params": ["resp0_id"]},
    )
    assert (response.data or {})["value"] == "7"


async def test_operations_of_the_endpoint_work_on_the_merge_and_static_data_on_both() -> None:
    proxy = {
        "flatmap_filter": [{"type": "move", "args": ["a", "x.a"]}],
        "static": {"data": {"a": "static"}, "strategy": "always"},
    }
    response = await ask(backend("/a=1"), backend("/b=2"), proxy=proxy)
    assert (response.data or {}).keys() == {"a", "b", "x"}
    assert (response.data or {})["a"] == "static"


async def test_operations_of_the_endpoint_are_for_several_backends() -> None:
    proxy = {"flatmap_filter": [{"type": "del", "args": ["a"]}]}
    assert ((await ask(backend("/a=1"), proxy=proxy)).data or {}).keys() == {"a"}


async def test_operations_of_a_backend_work_on_its_document() -> None:
    own = {"flatmap_filter": [{"type": "del", "args": ["a"]}]}
    response = await ask(backend("/a=1&b=2", proxy=own, allow=["a"], group="g"))
    assert (response.data or {})["g"].keys() == {"b"}


async def test_static_data_is_not_for_no_op() -> None:
    with pytest.raises(GatewayError, match="no"):
        await ask(
            backend("/fails"),
            output_encoding="no-op",
            proxy={"static": {"data": {"a": 1}, "strategy": "errored"}},
        )


async def test_a_shadow_is_called_and_its_response_is_ignored() -> None:
    known = Backends()
    shadow = backend("/shadow", proxy={"shadow": True})
    response = await ask(shadow, backend("/a=1"), backends_are=known)
    assert (response.data or {}).keys() == {"a"}
    assert response.is_complete
    assert sorted(known.called) == ["/a=1", "/shadow"]


async def test_numbers_of_responses_do_not_count_shadows() -> None:
    response = await ask(
        backend("/shadow", proxy={"shadow": True}),
        backend("/id=7"),
        backend("/tell/{resp0_id}"),
        proxy={"sequential": True},
    )
    assert (response.data or {})["value"] == "7"


async def test_concurrent_calls_call_each_backend_several_times() -> None:
    known = Backends()
    response = await ask(backend("/a=1"), backend("/fails"), concurrent_calls=3, backends_are=known)
    assert (response.data or {}).keys() == {"a"}
    assert known.called.count("/fails") == 3


@pytest.mark.parametrize("keys", [{}, {"concurrent_calls": 2}, {"proxy": {"sequential": True}}])
async def test_every_kind_of_pipe_has_its_deadline(keys: dict[str, Any]) -> None:
    with pytest.raises(GatewayError, match=r"^context deadline exceeded"):
        await ask(backend("/never"), backend("/never"), timeout="50ms", **keys)


async def test_the_body_is_read_when_any_backend_needs_it() -> None:
    known = Backends()
    catalog = known.catalog()
    shadow = backend("/shadow", proxy={"shadow": True})
    document = {
        "version": 3,
        "endpoints": [{"endpoint": "/a", "backend": [backend("/x"), shadow]}],
    }
    service = load(document, catalog, {}).service
    async with open_asyncio_side() as side:
        assembly = Assembly(service, catalog, side)
        assert not build_pipe(service.endpoints[0], assembly).reads_body


@pytest.mark.parametrize("is_sequential", [False, True])
async def test_a_failed_part_of_a_response_is_logged(
    is_sequential: bool, caplog: pytest.LogCaptureFixture
) -> None:
    response = await ask(backend("/a=1"), backend("/fails"), proxy={"sequential": is_sequential})
    assert (set(response.data or {}), response.is_complete) == ({"a"}, False)
    assert caplog.messages == ["GET /a: 500: backend[1]: no"]


async def test_a_part_that_is_late_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    await ask(backend("/never"), backend("/a=1"), timeout="100ms")
    assert caplog.messages == ["GET /a: 500: backend[0]: context deadline exceeded"]


async def test_a_failure_that_static_data_hides_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    response = await ask(backend("/fails"), proxy={"static": {"data": {"b": 2}}})
    assert response.data == {"b": 2}
    assert caplog.messages == ["GET /a: 500: no"]


async def test_a_response_without_failures_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0, "gateway.requests")
    await ask(backend("/a=1"), backend("/b=2"))
    await ask(backend("/a=1"), backend("/b=2"), proxy={"sequential": True})
    assert caplog.messages == []
