"""A circuit breaker around a branch, for each way in which a branch responds."""

from __future__ import annotations

from collections.abc import Callable, Coroutine

import pytest
from anyio import current_time, fail_after, sleep_forever

from gateway.components.breaker import with_breaker
from gateway.core.pipe import coroutine_of, parallel, within
from gateway.core.proxy import Arrive, Branch, Client, NoClient, Request, Response, Withdraw
from gateway.core.race import race
from gateway.errors import BreakerOpen, GatewayError, QueueEmpty

from .test_breaker import NO, YES, Time, breaker, end, is_open

pytestmark = pytest.mark.anyio


NO_CLIENT = NoClient()


class Leaving:
    """A client that leaves when a request begins to wait."""

    def __init__(self) -> None:
        self.is_gone = False

    def watch(self, gone: Callable[[], object]) -> Callable[[], Coroutine[object, object, None]]:
        async def leave() -> None:
            self.is_gone = True
            gone()

        return leave


class Backend:
    """Responds in one of the ways of a branch, or never."""

    def __init__(self, part: Response | GatewayError | None, means: GatewayError = NO) -> None:
        self.part = part
        self.means = means
        self.calls = 0

    async def ask(self, request: Request) -> Response:
        self.calls += 1
        if self.part is None:
            await sleep_forever()
        if isinstance(self.part, GatewayError):
            raise self.part
        assert self.part is not None
        return self.part

    def now(self, request: Request) -> Response | None:
        if self.part is not None:
            self.calls += 1
        if isinstance(self.part, GatewayError):
            raise self.part
        return self.part

    def later(self, request: Request, arrive: Arrive) -> Callable[[], GatewayError | None]:
        self.calls += 1
        if self.part is None:
            return lambda: self.means
        arrive(self.part)
        return lambda: None

    def branch(self, way: str) -> Branch:
        ask = None if way == "later" else self.ask
        now = self.now if way == "now" else None
        later = self.later if way == "later" else None
        return Branch(ask, now, later, lambda request: self.means, may_repeat=True)


def request(client: Client = NO_CLIENT, *, seconds: float = 60) -> Request:
    return Request("GET", "/", {}, client=client, deadline=current_time() + seconds)


WAYS = ("ask", "now", "later")


@pytest.mark.parametrize("way", WAYS)
async def test_an_open_breaker_does_not_call_the_backend(way: str) -> None:
    backend = Backend(NO)
    pipe = parallel([with_breaker(backend.branch(way), breaker())])
    for _ in range(2):
        with pytest.raises(GatewayError, match="no"):
            await coroutine_of(pipe)(request())
    with pytest.raises(BreakerOpen):
        await coroutine_of(pipe)(request())
    assert backend.calls == 2


@pytest.mark.parametrize("way", WAYS)
async def test_responses_pass_through(way: str) -> None:
    it = breaker(max_errors=0)
    branch = with_breaker(Backend(YES).branch(way), it)
    assert branch.may_repeat
    for _ in range(3):
        assert (await coroutine_of(parallel([branch]))(request())).data == {"a": 1}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("means", "counts"), [(NO, True), (QueueEmpty(), False)])
async def test_a_deadline_counts_as_what_it_means(
    way: str, means: GatewayError, counts: bool
) -> None:
    it = breaker(max_errors=0)
    pipe = parallel([with_breaker(Backend(None, means).branch(way), it)])
    with pytest.raises(type(means)):
        await coroutine_of(pipe)(request(seconds=0.01))
    assert is_open(it) == counts


@pytest.mark.parametrize("pipe", [within, parallel])
@pytest.mark.parametrize("way", WAYS)
async def test_a_client_that_leaves_is_no_failure(pipe: Callable[..., Branch], way: str) -> None:
    it = breaker(max_errors=0)
    branch = with_breaker(Backend(None).branch(way), it)
    with fail_after(5), pytest.raises(GatewayError):
        await coroutine_of(pipe(branch if pipe is within else [branch]))(request(Leaving()))
    assert not is_open(it)


@pytest.mark.parametrize("way", ["ask", "later"])
async def test_the_loser_of_a_race_has_not_failed(way: str) -> None:
    it = breaker(max_errors=0)
    slow, quick = Backend(None), Backend(YES)
    turns = [slow.branch(way), quick.branch(way)]
    branch = with_breaker(_one_after_the_other(turns, way), it)
    with fail_after(5):
        response = await coroutine_of(race(branch, 2, timeout=60))(request())
    assert response.data == {"a": 1}
    assert (slow.calls, quick.calls) == (1, 1)
    assert not is_open(it)


@pytest.mark.parametrize("way", ["ask", "later"])
async def test_a_race_without_a_winner_in_time_is_a_failure(way: str) -> None:
    it = breaker(max_errors=1)
    branch = with_breaker(Backend(None).branch(way), it)
    with pytest.raises(GatewayError):
        await coroutine_of(race(branch, 2, timeout=60))(request(seconds=0.01))
    assert is_open(it)


def _one_after_the_other(branches: list[Branch], way: str) -> Branch:
    """Each request goes to the next branch."""

    async def ask(request: Request) -> Response:
        return await coroutine_of(branches.pop(0))(request)

    def later(request: Request, arrive: Arrive) -> Withdraw:
        inner = branches.pop(0).later
        assert inner is not None
        return inner(request, arrive)

    return (
        Branch(None, None, later, lambda request: NO)
        if way == "later"
        else Branch(ask, timed_out=lambda request: NO)
    )


@pytest.mark.parametrize("way", WAYS)
async def test_while_one_request_decides_the_others_are_refused(way: str) -> None:
    time, backend = Time(), Backend(YES)
    it = breaker(time, max_errors=0)
    end(it, NO)
    time.now += 10
    trial = it.begin(request())
    pipe = parallel([with_breaker(backend.branch(way), it)])
    with pytest.raises(BreakerOpen, match="too many requests"):
        await coroutine_of(pipe)(request())
    assert backend.calls == 0
    trial.finish(YES)
    assert (await coroutine_of(pipe)(request())).data == {"a": 1}


async def test_an_unexpected_error_counts_and_comes_out() -> None:
    async def ask(request: Request) -> Response:
        raise ZeroDivisionError

    it = breaker(max_errors=0)
    with pytest.raises(ZeroDivisionError):
        await coroutine_of(with_breaker(Branch(ask), it))(request())
    assert is_open(it)
