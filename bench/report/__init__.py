"""The report: tables in the terminal, and an HTML page."""
