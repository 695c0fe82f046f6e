"""Load generators: our own (open and closed loop, a process of its own), wrk, k6."""
