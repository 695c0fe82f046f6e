"""python -m bench"""

import signal
import sys

from .cli import main

# SIGTERM stops the broker and the servers as well, like Ctrl-C.
signal.signal(signal.SIGTERM, signal.default_int_handler)
sys.exit(main())
