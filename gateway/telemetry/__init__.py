"""What the gateway tells of itself while it runs."""
