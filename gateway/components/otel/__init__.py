"""Metrics for OpenTelemetry and Prometheus, under KrakenD's names."""
