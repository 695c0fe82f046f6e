"""What stands around the endpoints: each layer is built once, from the root's ``extra_config``."""
