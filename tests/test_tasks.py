"""Task groups that raise a lone error as itself."""

from __future__ import annotations

import pytest
from anyio import sleep_forever

from gateway.errors import GatewayError
from gateway.tasks import open_tasks

pytestmark = pytest.mark.anyio


async def fail(text: str) -> None:
    raise GatewayError(text)


async def test_a_lone_error_comes_out_as_itself_however_deep() -> None:
    async def nested() -> None:
        async with open_tasks() as inner:
            inner.start_soon(fail, "lone")
            await sleep_forever()

    with pytest.raises(GatewayError, match="lone"):
        async with open_tasks() as tasks:
            tasks.start_soon(nested)
            tasks.start_soon(sleep_forever)


async def test_its_cause_is_kept() -> None:
    cause = ValueError("why")
    with pytest.raises(GatewayError) as error:
        async with open_tasks():
            raise GatewayError("lone") from cause
    assert error.value.__cause__ is cause


async def test_several_errors_stay_a_group() -> None:
    with pytest.raises(ExceptionGroup) as error:
        async with open_tasks():
            raise ExceptionGroup("two", [GatewayError("a"), GatewayError("b")])
    assert error.group_contains(GatewayError, match="a")
    assert error.group_contains(GatewayError, match="b")
