"""``python -m livedenoise``."""

import sys

from livedenoise.cli import main

sys.exit(main())
