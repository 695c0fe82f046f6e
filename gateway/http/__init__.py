"""``backend`` without a namespace: a service that is asked over HTTP."""
