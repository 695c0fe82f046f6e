"""Rate limits: token buckets, by whom they are asked for, and where they are kept."""
