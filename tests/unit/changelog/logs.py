"""A log made up: transactions of chosen sizes, cut into the blocks of sessions."""

import random
from dataclasses import dataclass, field

from tidewind.domain.log_stream import Block, Mark, SessionStart, Transaction

PREAMBLE = b"FDE!"
SECOND = 1_000_000


@dataclass
class MadeUpLog:
    """`sizes` of transactions 0-1-1, 0-1-2, …; the bytes of each are its number repeated, so that any mix-up shows."""

    sizes: list[int]
    history: str = "hst_AAAAAAAAAA"
    cluster: str = "shop"
    times: dict[int, int] = field(default_factory=dict)

    def body(self, number: int) -> bytes:
        return bytes((number % 251,)) * self.sizes[number - 1]

    def time_us(self, number: int) -> int:
        return number * SECOND

    def start(self, after: int, *, cause: str | None = None, after_history: str | None = None) -> SessionStart:
        return SessionStart(
            history=self.history,
            position=f"0-1-{after}" if after else "",
            cause=cause,
            after_history=after_history,
            server_identity="1-abc",
            server_version="10.11.19",
            opened_us=self.time_us(after),
            preamble=PREAMBLE.hex(),
        )

    def session(
        self,
        name: str,
        after: int,
        upto: int,
        rng: random.Random,
        *,
        cause: str | None = None,
        after_history: str | None = None,
        most: int = 50,
        marks: bool = True,
    ) -> list[Block]:
        """The blocks of a session that reads the transactions behind `after` up to `upto`, cut at random bytes."""
        stream, whole = bytearray(PREAMBLE), []
        for number in range(after + 1, upto + 1):
            begun = len(stream)
            stream += self.body(number)
            whole.append(Transaction(f"0-1-{number}", begun, len(stream), self.time_us(number), 0, number))
        blocks, at = [], 0
        while at < len(stream) or not blocks:
            end = min(len(stream), at + rng.randint(1, most))
            ending = tuple(one for one in whole if at < one.end <= end)
            last = max((one.end, one.gtid) for one in ending)[1] if ending else None
            number = int(last.split("-")[2]) if last else 0
            mark = Mark(
                position=last or "", before_us=self.time_us(number) + 1000, after_us=self.time_us(number) + 2000
            )
            blocks.append(
                Block(
                    cluster_id=self.cluster,
                    session=name,
                    sequence=len(blocks),
                    start=at,
                    data=bytes(stream[at:end]),
                    transactions=ending,
                    marks=(mark,) if marks and last and rng.random() < 0.7 else (),
                    begins=self.start(after, cause=cause, after_history=after_history) if not blocks else None,
                )
            )
            at = end
        return blocks
