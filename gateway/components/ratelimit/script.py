"""Buckets in Redis: what is asked of it, as one script for the requests of a moment. Pure.

By its clock, in microseconds, and otherwise as :func:`gateway.components.ratelimit.bucket.taken`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from .bucket import Rate

MICROSECOND = 1000
"""In nanoseconds."""

Question: TypeAlias = Sequence[tuple[bytes, Rate]]
"""The buckets that one request takes from, in their order."""

SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answers, key, arg = {}, 0, 0

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
  answers[#answers + 1] = refused
end
return answers
"""
"""Answers for each request the number of the limit that refuses it, from 1; 0: none does."""


def keys_and_arguments(questions: Sequence[Question]) -> tuple[list[str], list[int]]:
    """What the script is called with."""
    keys: list[str] = []
    arguments: list[int] = []
    for question in questions:
        arguments.append(len(question))
        for key, rate in question:
            interval = -(-rate.interval // MICROSECOND)
            keys.append(f"gateway:limit:{key.hex()}")
            arguments += (interval, interval * (rate.depth // rate.interval))
    return keys, arguments
