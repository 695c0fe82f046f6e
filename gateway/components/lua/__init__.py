"""``modifier/lua-proxy``, ``-backend``, ``-endpoint``: scripts, sandboxed and bounded.

(krakend-lua v2; its Lua is gopher-lua's, Lua 5.1)
"""
