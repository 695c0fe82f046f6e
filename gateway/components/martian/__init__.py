"""``modifier/martian``: changes to the requests and responses of HTTP backends.

(krakend-martian; google/martian v2.1)
"""
