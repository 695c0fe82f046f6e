"""Connections to brokers, kept and repaired, and what lives on their channels."""
