"""The terminal: state goes to standard output as a table or as JSON, everything said on the way to standard error."""

import json
import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from schemas.replies import Problem
from tidewind.cli.views.problem import problem_view


class Output(StrEnum):
    table = "table"
    json = "json"


@dataclass(frozen=True)
class Screen:
    """`out` is for what was asked for, `err` for progress, advice and errors."""

    output: Output
    out: Console
    err: Console

    @classmethod
    def of_process(cls, output: Output) -> "Screen":
        """On the streams of this process. Characters the terminal cannot show become question marks."""
        for stream in (sys.stdout, sys.stderr):
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="replace")
        return cls(
            output,
            Console(highlight=False, soft_wrap=True),
            Console(highlight=False, soft_wrap=True, stderr=True),
        )

    @property
    def as_json(self) -> bool:
        return self.output is Output.json

    @property
    def live(self) -> bool:
        """Whether lines may be drawn over."""
        return self.err.is_terminal and not self.as_json

    def show(self, view: RenderableType, data: object) -> None:
        """What was asked for: the view for people, or the data for programs."""
        if self.as_json:
            self.record(data)
        else:
            self.out.print(view)

    def record(self, data: object) -> None:
        """One JSON document on one line."""
        self.out.file.write(json.dumps(data, ensure_ascii=False, default=str) + "\n")
        self.out.file.flush()

    def say(self, text: str, style: str = "") -> None:
        """A line for people, on standard error."""
        self.err.print(Text(text, style=style))

    def problem(self, problem: Problem, *, headline: str, safe: str | None = None, **more: Any) -> None:
        """An error, on standard error for people, on standard output for programs."""
        if self.as_json:
            self.record({"problem": problem.model_dump(mode="json"), **more})
        else:
            self.err.print(problem_view(problem, headline=headline, safe=safe))
