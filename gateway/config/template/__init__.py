"""Flexible configuration: templates and settings are rendered to one configuration file."""
