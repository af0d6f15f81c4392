"""``python -m coord.testing.sim``."""

import sys

from coord.testing.sim.runner import main

sys.exit(main())
