"""HTTP/3 over UDP on aioquic, in addition to the server for TCP."""
