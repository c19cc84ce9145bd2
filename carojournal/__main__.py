"""`python -m carojournal`: the same as the program `carojournal`."""

import sys

from carojournal.cli import main

sys.exit(main())
