"""Authentication: of clients by the gateway, and of the gateway by others.

Above :mod:`gateway.http`: keys and tokens are fetched with the gateway's own client.
"""
