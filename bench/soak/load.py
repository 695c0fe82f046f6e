"""The requests: which are sent when, and what their responses say about the messages."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from itertools import count

from ..messages import first_number, message, numbers_in
from .accounts import Account, place_of
from .clients import Exchange, Manner, Target
from .flows import SHARES, Flow

MAX_REQUESTS = 1000
"""At once. While so many wait, no further one is sent."""


class Load:
    """Sends requests to gateways at a rate. ``statuses``: by kind of request; "left" for a client
    that left before its response was complete, "none" where the connection ended.

    ``is_paused``: no request is sent. ``skipped``: requests that were not sent because too many
    were waiting.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        flows: Sequence[Flow],
        accounts: Sequence[Account],
        clock: Callable[[], float],
        chance: random.Random,
    ) -> None:
        self.statuses = {kind: Counter[str]() for kind in SHARES}
        self.skipped = 0
        self.is_paused = False
        self._targets = targets
        self._flows = {
            name: [flow for flow in flows if flow.name == name]
            for name in ("published", "consumed", "large")
        }
        self._accounts = accounts
        self._clock = clock
        self._chance = chance
        self._kinds: dict[str, Callable[[Target], Awaitable[Exchange]]] = {
            "publish": self._publish,
            "consume": self._consume,
            "merge": self._merge,
            "hang up": self._hang_up,
            "read slowly": self._read_slowly,
        }

    @property
    def sent(self) -> int:
        return sum(statuses.total() for statuses in self.statuses.values())

    @property
    def unanswered(self) -> list[int]:
        """Of each gateway."""
        return [target.unanswered for target in self._targets]

    async def run(self, rate: float, stop: asyncio.Event) -> None:
        """Send ``rate`` requests a second until ``stop``, then wait for the last responses."""
        kinds, weights = list(SHARES), list(SHARES.values())
        rate *= sum(weights)
        open_requests: set[asyncio.Task[None]] = set()
        began = time.monotonic()
        async with asyncio.TaskGroup() as requests:
            for number in count():
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                if stop.is_set():
                    break
                if self.is_paused:
                    continue
                if len(open_requests) >= MAX_REQUESTS:
                    self.skipped += 1
                    continue
                (kind,) = self._chance.choices(kinds, weights)
                task = requests.create_task(self._request(kind))
                open_requests.add(task)
                task.add_done_callback(open_requests.discard)
        for target in self._targets:
            target.close()

    async def _request(self, kind: str) -> None:
        exchange = await self._kinds[kind](self._chance.choice(self._targets))
        response = exchange.response
        if response is not None:
            status = str(response.status)
        else:
            status = "left" if exchange.has_left else "none"
        self.statuses[kind][status] += 1
        if response is not None and response.status == 200 and kind != "publish":
            for each in numbers_in([response.body]):
                series, number = place_of(each)
                self._accounts[series].receive(number, self._clock(), is_leaving=exchange.has_left)

    async def _publish(self, target: Target) -> Exchange:
        flow = self._chance.choice(self._flows["published"])
        account = self._accounts[flow.series]
        number = account.add(self._clock())
        body = message(flow.series, first_number(flow.series) + number)
        headers = b"POST /%b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" % (
            flow.queue.encode()
        )
        exchange = await target.send(b"%bContent-Length: %d\r\n\r\n%b" % (headers, len(body), body))
        if exchange.response is not None and exchange.response.status == 200:
            account.confirm(number, self._clock())
        return exchange

    async def _consume(self, target: Target) -> Exchange:
        return await target.send(_get(self._chance.choice(self._flows["consumed"]).queue))

    async def _merge(self, target: Target) -> Exchange:
        return await target.send(_get("merge"))

    async def _hang_up(self, target: Target) -> Exchange:
        paths = ["merge", *(flow.queue for flow in self._flows["consumed"] + self._flows["large"])]
        manner = Manner(
            patience=self._chance.choice([0.0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.1]),
            reads=False,
            is_reset=self._chance.random() < 0.5,
        )
        return await target.send_alone(_get(self._chance.choice(paths)), manner)

    async def _read_slowly(self, target: Target) -> Exchange:
        """About a third of these clients read all of the response before they leave."""
        manner = Manner(
            patience=self._chance.uniform(0.1, 3.0),
            size=self._chance.choice([1, 4096, 16384]),
            pause=0.05,
            is_reset=self._chance.random() < 0.5,
            buffer=self._chance.choice([0, 4096]),
        )
        return await target.send_alone(
            _get(self._chance.choice(self._flows["large"]).queue), manner
        )


def _get(path: str) -> bytes:
    return b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode()
