"""`python -m carojournal.cli`."""

import sys

from carojournal.cli import main

sys.exit(main())
