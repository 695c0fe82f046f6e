"""Metrics and traces for OpenTelemetry and Prometheus."""
