"""python -m bench"""

import signal
import sys

from .cli import main

# What is told to end takes its broker and its servers with it, as after Ctrl-C.
signal.signal(signal.SIGTERM, signal.default_int_handler)
sys.exit(main())
