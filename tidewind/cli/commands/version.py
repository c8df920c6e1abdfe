"""`tidewind version`."""

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

import typer

from tidewind.cli.endings import OK
from tidewind.cli.screen import Output
from tidewind.cli.session import OutputOption, Session, run
from tidewind.cli.views.layout import sentence
from tidewind.domain.manifest import MANIFEST_FORMAT
from tidewind.domain.records import RECORD_FORMAT


def version(context: typer.Context, *, output: OutputOption = Output.table) -> None:
    """Which release this is, and the newest formats it reads."""

    async def work(session: Session) -> int:
        data = {
            "tidewind": _release(),
            "python": platform.python_version(),
            "manifest_format": MANIFEST_FORMAT,
            "record_format": RECORD_FORMAT,
        }
        text = f"tidewind {data['tidewind']}, Python {data['python']}, reads backups up to format {MANIFEST_FORMAT}"
        session.screen.show(sentence(text), data)
        return OK

    run(context, output, work)


def _release() -> str:
    try:
        return version_of("tidewind")
    except PackageNotFoundError:
        return "unreleased (run from a source tree)"
