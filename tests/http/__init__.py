"""The HTTP backend: pure rules, and a real service on a real socket."""
