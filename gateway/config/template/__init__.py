"""Flexible configuration: templates and settings become the text of one configuration."""
