"""One measured figure, with the goal it is held against."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Figure:
    """`value` in `unit`; a ratio is the peer's time over ours. `samples` are the single runs it comes from."""

    name: str
    value: float
    unit: str
    goal: float
    better: Literal["higher", "lower"]
    peer: str | None = None
    samples: tuple[float, ...] = ()

    @property
    def reached(self) -> bool:
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal

    @property
    def goal_text(self) -> str:
        return f"{'≥' if self.better == 'higher' else '≤'} {self.goal:g}"

    def as_json(self) -> dict[str, Any]:
        kind = "ratio" if self.unit == "ratio" else "value"
        return {
            "name": self.name,
            kind: round(self.value, 3),
            "unit": self.unit,
            "peer": self.peer,
            "goal": self.goal_text,
            "samples": [round(sample, 3) for sample in self.samples],
        }
