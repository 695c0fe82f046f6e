"""``modifier/martian``: changes to what HTTP backends are asked, and to what they answer.

(krakend-martian; google/martian v2.1)
"""
