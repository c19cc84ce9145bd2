"""`python -m carobatch.cli`."""

import sys

from carobatch.cli import main

sys.exit(main())
