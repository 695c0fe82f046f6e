"""The pipe and its words: requests, parts, stages, and what every component is built from."""
