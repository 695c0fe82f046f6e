"""Answers recorded from KrakenD 2.13.8, and what this gateway must answer instead where those
lose messages or hide failures (``want`` in the cases)."""
