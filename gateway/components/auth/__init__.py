"""Who may come in, and what is said to others on whose behalf: one file per namespace of ``auth/``.

Stands above :mod:`gateway.http`: keys and tokens are fetched with the gateway's own client.
"""
