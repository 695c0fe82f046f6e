"""Buckets in Redis: one script takes the tokens of all requests that wait. Pure.

It uses the clock of Redis, in microseconds, and the rules of :func:`.bucket.take_token`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from .bucket import Rate

MICROSECOND = 1000
"""Nanoseconds."""

LimitCheck: TypeAlias = Sequence[tuple[bytes, Rate]]
"""The keys and rates of the buckets that one request takes from, in their order."""

SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local results, key, arg = {}, 0, 0

local function argument()
  arg = arg + 1
  return tonumber(ARGV[arg])
end

while arg < #ARGV do
  local refused = 0
  for limit = 1, argument() do
    key = key + 1
    local interval, depth = argument(), argument()
    if refused == 0 then
      local full_at = tonumber(redis.call('GET', KEYS[key]) or 0)
      full_at = math.max(full_at, now) + interval
      if full_at - now > depth then
        refused = limit
      else
        local life = math.ceil((full_at - now) / 1000)
        redis.call('SET', KEYS[key], string.format('%.0f', full_at), 'PX', life)
      end
    end
  end
  results[#results + 1] = refused
end
return results
"""
"""Returns for each request the number of the limit that refuses it, from 1; 0: none does."""


def keys_and_arguments(checks: Sequence[LimitCheck]) -> tuple[list[str], list[int]]:
    """The parameters of the script."""
    keys: list[str] = []
    arguments: list[int] = []
    for check in checks:
        arguments.append(len(check))
        for key, rate in check:
            interval = -(-rate.interval // MICROSECOND)
            keys.append(f"gateway:limit:{key.hex()}")
            arguments += (interval, interval * (rate.depth // rate.interval))
    return keys, arguments
