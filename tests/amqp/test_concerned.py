"""How lines of the log name the endpoints and agents that a connection is for."""

from __future__ import annotations

import pytest

from gateway.amqp.connection.concerned import Concerned


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        ([""], ""),
        (["GET /a"], " for GET /a"),
        (["GET /a", "GET /a", "agent b"], " for GET /a and agent b"),
        (["a", "b", "c"], " for a, b and c"),
        (["a", "b", "c", "d"], " for a, b, c and 1 more"),
        ([*"abcdefgh"], " for a, b, c and 5 more"),
    ],
)
def test_three_names_are_shown(names: list[str], text: str) -> None:
    concerned = Concerned()
    for name in names:
        concerned.add(name)
    assert concerned.after("for") == text
