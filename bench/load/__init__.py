"""Load generators: our own (open and closed loop, a separate process), wrk, k6."""
