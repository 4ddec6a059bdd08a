"""`python -m swarmproxy` is the command `swarmproxy`."""

from __future__ import annotations

import sys

from swarmproxy.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
