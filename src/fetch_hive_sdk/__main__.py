"""`python -m fetch_hive_sdk` is `fetch-hive`."""

import sys

from .cli import main

sys.exit(main())
