"""``python -m surveycnn``."""

import sys

from surveycnn.cli import main

sys.exit(main())
