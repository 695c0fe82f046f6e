"""The Lua side of the sandbox: what a script can call, and its bounds.

A script never has an object of Python. It has handles: tables that stand for an object by its
number in the session. Python is called only while there is memory for the result, because an
allocation that fails there would end the process.
"""

from .libraries import LIBRARIES

_BEGIN = rb"""
local invoke, soft, opens_libs, budget, seconds, JOINT = ...

local type, next, error, pcall, tostring, tonumber = type, next, error, pcall, tostring, tonumber
local select, unpack, setmetatable, getmetatable = select, unpack, setmetatable, getmetatable
local rawget, rawset, setfenv, loadstring = rawget, rawset, setfenv, loadstring
local collectgarbage, clock, date, floor = collectgarbage, os.clock, os.date, math.floor
local getinfo, sethook, real_metatable = debug.getinfo, debug.sethook, debug.getmetatable
local find, format, gsub, rep, upper =
  string.find, string.format, string.gsub, string.rep, string.upper

local MEMORY = "not enough memory"
local STEPS, TIME = "too many instructions", "too much time"
local TICK, DEEPEST, LONGEST_PATTERN, MOST_COST, MOST_COMPARED = 100, 100, 500, 3e7, 1e9

-- Instructions. Above the budget each further one fails, so that a script cannot go on in a pcall.
-- Instructions of run itself do not fail: its pcall ends the script.

local steps, deadline, run = 0, 0
local function tick()
  steps = steps + TICK
  local over = steps > budget and STEPS or clock() > deadline and TIME
  if over and getinfo(2, "f").func ~= run then
    sethook(tick, "", 1)
    error(over, 0)
  end
end

-- Called before a C function of about so many steps: no instruction is counted inside it.
local function hurry(cost)
  if cost > 10000 and clock() > deadline then error(TIME, 0) end
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

-- Tables as Python gets them: copies, in which {[true] = number} replaces a handle.
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
  hurry(MOST_COST)
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

-- The globals of a script.

local base = {
  _VERSION = _VERSION, assert = assert, error = error, getmetatable = getmetatable,
  ipairs = ipairs, next = next, pairs = pairs, pcall = pcall, rawequal = rawequal,
  rawget = rawget, select = select, tonumber = tonumber, unpack = unpack,
  luaTable = maker("luaTable"), luaList = maker("luaList"), luaNil = maker("luaNil"),
}

function base.rawset(where, key, value)
  if protected[where] or numbers[where] then read_only() end
  return rawset(where, key, value)
end

-- The handler is called here: inside xpcall no instruction would be counted.
function base.xpcall(called, handler)
  local results = {pcall(called)}
  if results[1] then return unpack(results, 1, table.maxn(results)) end
  return false, handler(results[2])
end

function base.print(...)
  local texts = {}
  for place = 1, select("#", ...) do texts[place] = base.tostring((select(place, ...))) end
  enter()
  invoke("print", 0, 1, table.concat(texts, " "))
end

function base.custom_error(...)
  local count = select("#", ...)
  local text, code, kind = ...
  if count == 0 then error("need arguments", 0) end
  local problem = {text = base.tostring(text), kind = kind and base.tostring(kind)}
  if count > 1 then
    problem.code = tonumber(code)
    if not problem.code then error("number expected", 0) end
  end
  customs[problem] = true
  error(problem, 0)
end

"""

_END = rb"""
-- Called by Python.

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
  steps, deadline, kept = 0, clock() + seconds, nil
  setfenv(chunk, session)
  sethook(tick, "", TICK)
  local is_done, problem = pcall(chunk)
  sethook()
  if is_done then return true end
  if customs[problem] then return false, problem.text, problem.code, problem.kind end
  if problem == MEMORY then collectgarbage() end
  if type(problem) == "number" then problem = digits(problem) end
  return false, type(problem) == "string" and problem or "an error without a message", nil, nil
end

return compile, new_session, bind, run
"""

PRELUDE = _BEGIN + LIBRARIES + _END
