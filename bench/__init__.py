"""The benchmark: throughput, latency and CPU per request, beside a baseline of the same run."""
