"""python -m bench.soak"""

import sys

from .cli import main

sys.exit(main())
