"""`python -m services.changelog`."""

import asyncio
import sys

from services.changelog.bootstrap import NAME, serve
from tidewind.runtime.startup import run_service

if __name__ == "__main__":
    sys.exit(run_service(NAME, lambda: asyncio.run(serve())))
