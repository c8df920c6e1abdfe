"""What a `tidewind` in a process of its own has imported at its end."""

import json
import subprocess
import sys

CLIENTS = {"aiokafka", "aiobotocore", "botocore", "aioboto3", "aiomysql", "pymysql", "aiohttp", "faust"}

_RUN = """
import json, sys
sys.argv = ["tidewind", *sys.argv[1:]]
from tidewind.cli.main import main
try:
    main()
except SystemExit as end:
    print(json.dumps([end.code, sorted({name.partition(".")[0] for name in sys.modules} | set(sys.modules))]))
"""


def loaded(*words: str, environment: dict[str, str] | None = None) -> tuple[int, set[str]]:
    """The exit code, and every module that the command line had imported at its end."""
    ended = subprocess.run(
        [sys.executable, "-c", _RUN, *words], capture_output=True, text=True, timeout=240, check=True, env=environment
    )
    code, modules = json.loads(ended.stdout.splitlines()[-1])
    return code, set(modules)
