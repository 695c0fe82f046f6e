"""The settings of ``modifier/martian``: errors and warnings."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.app.catalog import CATALOG
from gateway.app.check import check
from gateway.components.martian.parse import MartianError, UnknownModifierError, parse
from gateway.components.martian.stage import TABLE
from gateway.config.findings import ConfigError
from gateway.config.load import load

from .service import answering, message, serving
from .test_backend import asking, configuration
from .test_martian import MARK

WRONG: list[tuple[Any, str, str]] = [
    ([], "", "expected one modifier"),
    ({"a.B": {}, "c.D": {}}, "", "expected one modifier"),
    ({"header.Modifier": []}, "header.Modifier", "expected an object"),
    ({"header.Modifier": {"value": "b"}}, "header.Modifier.name", "not the name of a header"),
    ({"header.Modifier": {"name": "a", "value": 1}}, "header.Modifier", "Expected `str`"),
    ({"header.Modifier": {"name": "a", "value": "\r\n"}}, "header.Modifier.value", "control"),
    ({"header.Modifier": {"name": "a", "scope": ["all"]}}, "header.Modifier.scope", "request"),
    ({"header.Id": {"scope": ["response"]}}, "header.Id.scope", "no effect on"),
    ({"status.Modifier": {"statusCode": 99}}, "status.Modifier.statusCode", "not the status"),
    ({"body.Modifier": {"body": "!"}}, "body.Modifier.body", "Base64"),
    ({"port.Modifier": {}}, "port.Modifier", "expected one of"),
    ({"port.Modifier": {"port": 70000}}, "port.Modifier.port", "expected a port"),
    ({"cookie.Modifier": {"name": "a b"}}, "cookie.Modifier.name", "not the name"),
    ({"cookie.Modifier": {"name": "a", "expires": "soon"}}, "cookie.Modifier", "Invalid"),
    ({"stash.Modifier": {"HeaderName": "a","scope":["response"]}}, "stash.Modifier.scope", "both"),
    ({"url.Filter": {}}, "url.Filter.modifier", "expected one modifier"),
    ({"url.RegexFilter": {"regex": "(", "modifier": MARK}}, "url.RegexFilter.regex", "pattern"),
    ({"url.Filter": {"modifier": MARK, "else": []}}, "url.Filter.else", "expected one"),
    ({"fifo.Group": {"modifiers": [MARK, 1]}}, "fifo.Group.modifiers[1]", "expected one"),
    ({"static.Modifier": {}}, "static.Modifier.rootPath", "expected the folder"),
    ({"priority.Group": {"modifiers": [1]}}, "priority.Group.modifiers[0]", "expected an object"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "path", "text"), WRONG)
def test_an_error_has_the_path_of_its_cause(document: Any, path: str, text: str) -> None:
    with pytest.raises(MartianError, match=text) as caught:
        parse(document, "", TABLE)
    assert caught.value.path == path
    assert not isinstance(caught.value, UnknownModifierError)


def loaded(document: Any, **extra: Any) -> Any:
    of_backend = {"modifier/martian": document, **extra}
    return load(configuration("http://a.test", extra_config=of_backend), CATALOG, {})


def test_an_error_stops_the_start() -> None:
    with pytest.raises(
        ConfigError, match=r'"modifier/martian"\]\.status\.Modifier\.statusCode: not'
    ):
        loaded({"status.Modifier": {"statusCode": 1}})


@pytest.mark.parametrize(
    "document",
    [{"no.Such": {}}, {"fifo.Group": {"modifiers": [MARK, {"no.Such": {}}]}}, {}],
)
def test_check_warns_of_settings_that_are_ignored(document: Any) -> None:
    service = loaded(document).service
    [finding] = check(service, CATALOG)
    assert "ignored, as in KrakenD" in finding.text


@pytest.mark.anyio
async def test_an_unknown_modifier_disables_all_of_them() -> None:
    group = {"fifo.Group": {"modifiers": [MARK, {"no.Such": {}}]}}
    with serving(answering(message())) as service:
        config = configuration(service.url, extra_config={"modifier/martian": group})
        async with asking(config) as client:
            assert (await client.get("/")).status_code == 200
    assert b"X-Mark" not in service.requests[0]


@pytest.mark.anyio
async def test_a_modifier_that_fails_fails_its_request() -> None:
    twice = {"header.Append": {"name": "Host", "value": "x", "scope": ["request"]}}
    with serving(answering(message())) as service:
        config = configuration(service.url, extra_config={"modifier/martian": twice})
        async with asking(config) as client:
            assert (await client.get("/")).status_code == 500
    assert service.requests == []
