"""The Lua side of the sandbox, second part: ``string``, ``table``, ``tostring`` and ``..``.

Each function keeps two rules. A number becomes text as in KrakenD's Lua (:mod:`.digits`).
A C function whose time depends on its arguments is bounded: no instruction is counted inside it, so
the clock, or the worst case, is checked before the call.
"""

LIBRARIES = rb"""
-- Numbers as text.

local function digits(number)
  if floor(number) == number and number >= -2^63 and number < 2^63 then
    return format("%d", number)
  end
  enter()
  return made(invoke("number.text", 0, 1, number))
end

local function text(value)
  return type(value) == "number" and digits(value) or value
end

function base.tostring(...)
  return select("#", ...) > 0 and type((...)) == "number" and digits((...)) or tostring(...)
end

function base.type(...)
  local value = ...
  return value ~= nil and numbers[value] and "userdata" or type(...)
end

-- a .. b is compiled as a .. joint .. b, from the right to the left: joint .. b keeps b, then
-- a .. joint joins the two.

-- These steps are not counted for the script: JOIN_STEPS, a few less than a join takes.

local JOIN_STEPS = 30
local kept
local wrappers = setmetatable({}, {__mode = "k"})
local function joins(value)
  local meta = real_metatable(value)
  return meta and rawget(meta, "__concat")
end

local joint = {}
protected[joint] = true
base[JOINT] = setmetatable(joint, {__metatable = false, __newindex = read_only,
  __concat = function(left, right)
    if left == joint then
      kept = right
      return joint
    end
    right, kept = kept, nil
    local one, two = type(left), type(right)
    steps = steps - JOIN_STEPS
    if one == "string" and two == "string" then
      hurry(#left + #right)
      return left .. right
    end
    if (one == "string" or one == "number") and (two == "string" or two == "number") then
      return text(left) .. text(right)
    end
    if joins(left) or joins(right) then return left .. right end
    local kinds = base.type(left) .. " and " .. base.type(right)
    error("cannot perform concat operation between " .. kinds, 2)
  end})

-- Lua uses the metamethod of the left operand first: it must get b, not joint.
function base.setmetatable(value, meta)
  local own = type(meta) == "table" and not protected[meta] and rawget(meta, "__concat")
  if type(own) == "function" and not wrappers[own] then
    local function wrapper(left, right)
      if right == joint then right, kept = kept, nil end
      return own(left, right)
    end
    wrappers[wrapper] = true
    rawset(meta, "__concat", wrapper)
  end
  return setmetatable(value, meta)
end

-- table

local function with_texts(list, first, last)
  local copy
  for place = first, last do
    local value = rawget(list, place)
    if value == nil then break end
    if type(value) == "number" then
      if not copy then
        copy = {}
        for before = first, place - 1 do copy[before] = rawget(list, before) end
      end
      value = digits(value)
    end
    if copy then copy[place] = value end
  end
  return copy or list
end

local insert, remove, concat, sort, maxn =
  table.insert, table.remove, table.concat, table.sort, table.maxn

local function size(list) return type(list) == "table" and #list or 0 end

local function less(one, two) return one < two end

base.table = protect({
  getn = table.getn,
  maxn = function(list)
    hurry(MOST_COST)
    return maxn(list)
  end,
  remove = function(list, ...)
    hurry(size(list))
    return remove(list, ...)
  end,
  insert = function(list, ...)
    if protected[list] or numbers[list] then read_only() end
    hurry(size(list))
    if select("#", ...) > 1 then
      local place = tonumber((...))
      if not place or place < 1 or place > #list + 1 then error("position out of bounds", 0) end
    end
    return insert(list, ...)
  end,
  concat = function(list, separator, first, last)
    if type(list) ~= "table" then return concat(list) end
    first, last = first or 1, last or #list
    local texts = with_texts(list, tonumber(first) or 1, tonumber(last) or 0)
    hurry(MOST_COST)
    return concat(texts, text(separator) or "", first, last)
  end,
  -- Without an order C compares: two long strings, a million times, as one instruction.
  sort = function(list, order)
    return sort(list, order or less)
  end,
})

-- string

-- A string, or an error in the script that calls one of these functions.
local function wanted(value, place, name)
  value = text(value)
  if type(value) == "string" then return value end
  local found = "string expected, got " .. base.type(value)
  error("bad argument #" .. place .. " to '" .. name .. "' (" .. found .. ")", 3)
end

-- Patterns backtrack: n characters and k repetitions can take n^k steps in one instruction.
local function bounded(text, pattern)
  if #pattern > LONGEST_PATTERN then error("the pattern is too long", 0) end
  local items = gsub(gsub(pattern, "%%.", "x"), "%[%^?%]?[^%]]*%]", "x")
  local _, all = gsub(items, "[*+-]", "")
  local _, options = gsub(items, "%?", "")
  local _, references = gsub(pattern, "%%[b%d]", "")
  if find(items, "[*+]%)*$") then all = all - 1 end
  if find(items, "^^") == nil then all = all + 1 end
  if (#text + 1) ^ (all + references) * 2 ^ options > MOST_COST then
    error("the pattern is too expensive for a text of " .. #text .. " bytes", 0)
  end
end

local function checked(called, name)
  return function(value, pattern, ...)
    value, pattern = wanted(value, 1, name), wanted(pattern, 2, name)
    bounded(value, pattern)
    hurry(#value)
    return called(value, pattern, ...)
  end
end

-- A plain search compares at every position: n * m steps for two long strings.
local function found(value, part, start, is_plain)
  value, part = wanted(value, 1, "find"), wanted(part, 2, "find")
  if not is_plain then
    bounded(value, part)
  elseif (#value - #part) * #part > MOST_COMPARED then
    error("the text to find is too long for a text of " .. #value .. " bytes", 0)
  end
  hurry(#value)
  return find(value, part, start, is_plain)
end

local function of_text(name)
  local called = string[name]
  return function(value, ...)
    return called(wanted(value, 1, name), ...)
  end
end

-- As in Go all letters change their case, not only those of ASCII.
local function cased(name)
  local called = string[name]
  return function(value)
    value = wanted(value, 1, name)
    if not find(value, "[\128-\255]") then return called(value) end
    enter()
    return made(invoke("text." .. name, 0, 1, value))
  end
end

local function replaced(value, pattern, by, ...)
  if type(by) == "table" then
    local values = by
    by = function(key) return text(values[key]) end
  elseif type(by) == "function" then
    local called = by
    by = function(...) return text((called(...))) end
  end
  return gsub(value, pattern, text(by), ...)
end

-- Go's verbs: %s and %v take any value, and %g has as many digits as are needed.
local function formatted(pattern, ...)
  local values, count, place = {...}, select("#", ...), 0
  local function verb(flags, letter)
    if letter == "%" then return end
    place = place + 1
    local value = values[place]
    if letter == "s" or letter == "v" or letter == "q" then
      if place <= count then values[place] = base.tostring(value) end
      return "%" .. flags .. (letter == "q" and "q" or "s")
    end
    local is_short = (letter == "g" or letter == "G") and not find(flags, ".", 1, true)
    if is_short and type(value) == "number" then
      enter()
      local shown = made(invoke("number.shown", 0, 1, value))
      values[place] = letter == "G" and upper(shown) or shown
      return "%" .. flags .. "s"
    end
  end
  pattern = gsub(wanted(pattern, 1, "format"), "%%([-+ #0]*%d*%.?%d*)(.)", verb)
  hurry(MOST_COST)
  return format(pattern, unpack(values, 1, count))
end

local strings = {
  byte = of_text("byte"), char = string.char, find = found, format = formatted,
  gmatch = checked(string.gmatch, "gmatch"), gsub = checked(replaced, "gsub"),
  len = of_text("len"), lower = cased("lower"), match = checked(string.match, "match"),
  reverse = of_text("reverse"), sub = of_text("sub"), upper = cased("upper"),
  rep = function(value, times)
    value = wanted(value, 1, "rep")
    local length = #value * (tonumber(times) or 0)
    if length > soft then error(MEMORY, 0) end
    hurry(length)
    return length > 0 and rep(value, times) or ""
  end,
}

-- A method is called on a string, never on a number, so it needs no conversion.
local methods = {}
for name, each in next, strings do methods[name] = each end
for _, name in next, {"byte", "len", "reverse", "sub"} do
  methods[name] = string[name]
end

local of_strings = real_metatable("")
of_strings.__metatable = false
of_strings.__index = {}
if opens_libs then
  of_strings.__index = methods
  base.string = protect(strings)
  local numeric = {}
  for name, each in next, math do numeric[name] = each end
  base.math = protect(numeric)
  base.os = protect({clock = clock, difftime = os.difftime, time = os.time,
    date = function(pattern, ...)
      if type(pattern) == "string" and #pattern > LONGEST_PATTERN then
        error("the format is too long", 0)
      end
      return date(pattern or "%c", ...)
    end})
end
"""
"""Uses the locals of :mod:`.prelude`, which comes before it."""
