"""The Lua side of the sandbox: what a script finds, and what stops it.

A script never holds an object of Python: it holds tables that stand for one, by its number in the
session. Calls into Python are only made while there is room for what they return, because an
allocation that fails there would end the process. What C functions do is not counted as
instructions, so those whose time their arguments decide are bounded here.
"""

PRELUDE = rb"""
local invoke, soft, opens_libs, budget, seconds = ...

local type, next, error, pcall, tostring, tonumber = type, next, error, pcall, tostring, tonumber
local select, unpack, setmetatable, getmetatable = select, unpack, setmetatable, getmetatable
local rawget, rawset, setfenv, loadstring = rawget, rawset, setfenv, loadstring
local collectgarbage, clock = collectgarbage, os.clock
local getinfo, sethook = debug.getinfo, debug.sethook
local lower_string, rep, find, gsub = string.lower, string.rep, string.find, string.gsub

local MEMORY = "not enough memory"
local STEPS, TIME = "too many instructions", "too much time"
local TICK, DEEPEST, LONGEST_PATTERN, MOST_COST = 100, 100, 500, 3e7

-- Instructions. Beyond the budget each further one fails, so that no pcall goes on; those of run
-- itself, in whose pcall all of that ends, do not.

local steps, deadline, run = 0, 0
local function tick()
  steps = steps + TICK
  local over = steps > budget and STEPS or clock() > deadline and TIME
  if over and getinfo(2, "f").func ~= run then
    sethook(tick, "", 1)
    error(over, 0)
  end
end

-- Objects of Python.

local numbers = setmetatable({}, {__mode = "k"})
local kinds = setmetatable({}, {__mode = "k"})
local customs = setmetatable({}, {__mode = "k"})
local protected = setmetatable({}, {__mode = "k"})

local function read_only()
  error("attempt to change what cannot be changed", 0)
end

local function protect(real)
  local proxy = setmetatable({}, {__index = real, __newindex = read_only, __metatable = false})
  protected[proxy] = true
  return proxy
end

-- Tables as Python is to see them: copies, with {[true] = number} for what stands for an object.
local function plain(value, depth)
  if type(value) ~= "table" then return value end
  if numbers[value] then return {[true] = numbers[value]} end
  if depth > DEEPEST then error("nested too deeply", 0) end
  local copy = {}
  for key, each in next, value do
    if type(key) == "boolean" then key = tostring(key) end
    copy[key] = plain(each, depth + 1)
  end
  return copy
end

local metas = {}

local function made(kind, value)
  if kind == "" then return value end
  if kind == "error" then error(value, 0) end
  local handle = setmetatable({}, metas[kind])
  numbers[handle], kinds[handle] = value, kind
  return handle
end

local function enter()
  if collectgarbage("count") * 1024 > soft then error(MEMORY, 0) end
end

local function method(kind, name)
  local called = kind .. "." .. name
  return function(self, ...)
    enter()
    if kinds[self] ~= kind then error(kind .. " expected", 0) end
    local count = select("#", ...)
    local first, second = ...
    if count > 2 then count = 2 end
    return made(invoke(called, numbers[self], count, plain(first, 0), plain(second, 0)))
  end
end

local function define(kind, ...)
  local methods = {}
  for place = 1, select("#", ...) do
    local name = select(place, ...)
    methods[name] = method(kind, name)
  end
  metas[kind] = {__index = methods, __newindex = read_only, __metatable = false}
end

define("luaTable", "get", "set", "len", "del", "keys", "keyExists")
define("luaList", "get", "set", "len", "del")
define("luaNil")
define("request", "method", "path", "query", "url", "params", "headers", "headerList", "body")
define("response", "isComplete", "statusCode", "data", "headers", "headerList", "body")
define("ctx", "method", "url", "host", "query", "params", "headers", "headerList", "body")

local function maker(kind)
  local called = kind .. ".new"
  return protect({new = function()
    enter()
    return made(invoke(called, 0, 0))
  end})
end

-- What a script finds.

local base = {
  _VERSION = _VERSION, assert = assert, error = error, getmetatable = getmetatable,
  ipairs = ipairs, next = next, pairs = pairs, pcall = pcall, rawequal = rawequal,
  rawget = rawget, select = select, setmetatable = setmetatable, tonumber = tonumber,
  tostring = tostring, type = type, unpack = unpack,
  luaTable = maker("luaTable"), luaList = maker("luaList"), luaNil = maker("luaNil"),
}

function base.rawset(where, key, value)
  if protected[where] or numbers[where] then read_only() end
  return rawset(where, key, value)
end

-- A handler of xpcall's own would run where nothing is counted.
function base.xpcall(called, handler)
  local results = {pcall(called)}
  if results[1] then return unpack(results, 1, table.maxn(results)) end
  return false, handler(results[2])
end

function base.print(...)
  local texts = {}
  for place = 1, select("#", ...) do texts[place] = tostring((select(place, ...))) end
  enter()
  invoke("print", 0, 1, table.concat(texts, " "))
end

function base.custom_error(...)
  local count = select("#", ...)
  local text, code, kind = ...
  if count == 0 then error("need arguments", 0) end
  local problem = {text = tostring(text), kind = kind and tostring(kind)}
  if count > 1 then
    problem.code = tonumber(code)
    if not problem.code then error("number expected", 0) end
  end
  customs[problem] = true
  error(problem, 0)
end

local insert = table.insert
base.table = protect({
  concat = table.concat, getn = table.getn, maxn = table.maxn, remove = table.remove,
  sort = table.sort,
  insert = function(list, ...)
    if select("#", ...) > 1 then
      local place = tonumber((...))
      if not place or place < 1 or place > #list + 1 then error("position out of bounds", 0) end
    end
    return insert(list, ...)
  end,
})

-- Patterns backtrack: n characters and k repetitions can take n^k steps, of one instruction.
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

local function checked(called)
  return function(text, pattern, ...)
    if type(text) == "number" then text = tostring(text) end
    if type(pattern) == "number" then pattern = tostring(pattern) end
    if type(text) == "string" and type(pattern) == "string" then bounded(text, pattern) end
    return called(text, pattern, ...)
  end
end

local checked_find = checked(find)
local strings = {
  byte = string.byte, char = string.char, format = string.format, len = string.len,
  lower = lower_string, reverse = string.reverse, sub = string.sub, upper = string.upper,
  gmatch = checked(string.gmatch), gsub = checked(gsub), match = checked(string.match),
  find = function(text, pattern, start, is_plain)
    if is_plain then return find(text, pattern, start, true) end
    return checked_find(text, pattern, start)
  end,
  rep = function(text, times)
    local length = #tostring(text) * (tonumber(times) or 0)
    if length > soft then error(MEMORY, 0) end
    return length > 0 and rep(text, times) or ""
  end,
}

local of_strings = getmetatable("")
of_strings.__metatable = false
of_strings.__index = {}
if opens_libs then
  of_strings.__index = strings
  base.string = protect(strings)
  local numeric = {}
  for name, each in next, math do numeric[name] = each end
  base.math = protect(numeric)
  base.os = protect({clock = clock, date = os.date, difftime = os.difftime, time = os.time})
end

-- What Python calls.

local of_environments = {__index = base, __metatable = false}

local function new_session()
  local session = setmetatable({}, of_environments)
  session._G = session
  return session
end

local function bind(session, name, kind, number)
  local handle = made(kind, number)
  session[name] = protect({load = function() return handle end})
end

local function compile(code, name)
  return loadstring(code, "=" .. name)
end

function run(session, chunk)
  steps, deadline = 0, clock() + seconds
  setfenv(chunk, session)
  sethook(tick, "", TICK)
  local is_done, problem = pcall(chunk)
  sethook()
  if is_done then return true end
  if customs[problem] then return false, problem.text, problem.code, problem.kind end
  if problem == MEMORY then collectgarbage() end
  if type(problem) == "number" then problem = tostring(problem) end
  return false, type(problem) == "string" and problem or "an error without a text"
end

return compile, new_session, bind, run
"""
