"""What people look at: a table in the terminal, a page in the browser."""
