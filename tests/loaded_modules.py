"""What a `tidewind` in a process of its own has imported at its end."""

import json
import subprocess
import sys
from collections.abc import Sequence

CLIENTS = {"aiokafka", "aiobotocore", "botocore", "aioboto3", "aiomysql", "pymysql", "aiohttp", "faust"}

_RUN = """
import json, sys
cases, seen, told = json.loads(sys.argv[1]), set(), []
from tidewind.cli.main import main
for words in cases:
    sys.argv = ["tidewind", *words]
    try:
        main()
    except SystemExit as end:
        code = end.code
    modules = {name.partition(".")[0] for name in sys.modules} | set(sys.modules)
    told.append([code, sorted(modules - seen)])
    seen |= modules
print(json.dumps(told))
"""


def loaded(*words: str, environment: dict[str, str] | None = None) -> tuple[int, set[str]]:
    """The exit code, and every module that the command line had imported at its end."""
    return loaded_in_turn([words], environment=environment)[0]


def loaded_in_turn(
    cases: Sequence[Sequence[str]], *, environment: dict[str, str] | None = None
) -> list[tuple[int, set[str]]]:
    """The same of several command lines in one process: each with the modules that those before it had not imported.
    What none of them imports, none would import alone; and starting Python anew for each would cost the most."""
    ended = subprocess.run(
        [sys.executable, "-c", _RUN, json.dumps(cases)],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
        env=environment,
    )
    return [(code, set(modules)) for code, modules in json.loads(ended.stdout.splitlines()[-1])]
