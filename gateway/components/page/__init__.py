"""The live page on the management port: what the gateway is doing, for a browser."""
