"""How fast is it? Throughput, latency and CPU per request, beside a floor in the same run."""
