"""Rate limits: token buckets, how a client is identified, and where the buckets are stored."""
