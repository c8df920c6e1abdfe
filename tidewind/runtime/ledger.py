"""The ledger of jobs: the memory of all accepted work, in the store.

    jobs/<cluster>/<job>/accepted.json    the command, the answer given           put-if-absent, before the reply
    jobs/<cluster>/<job>/epoch-<n>        who works on it; n + 1 is the claim      put-if-absent
    jobs/<cluster>/<job>/cancel.json      somebody asked to stop it                put-if-absent
    jobs/<cluster>/<job>/verdict.json     restores: open or return                 put-if-absent
    jobs/<cluster>/<job>/step-<name>.json what a step left for its successors      put-if-absent
    jobs/<cluster>/<job>/terminal.json    the exact terminal event                 put-if-absent, before it is published
    jobs-open/<service>/<cluster>/<job>   marker: put before accepted.json, removed after the terminal event is out

Invariant: a job that was ever answered "accepted" has its marker until its terminal event has been acknowledged by
Kafka. So whoever lists the markers finds all unfinished work, and a marker without `accepted.json` is the trace of a
command that will be delivered again. Everything is put once; of two writers the first decides, for both.
"""

from collections.abc import Mapping
from typing import Any

from tidewind.domain import keys
from tidewind.domain.records import (
    Accepted,
    CancelRequest,
    EpochClaim,
    Record,
    RecordType,
    Terminal,
    Verdict,
    parse,
)
from tidewind.ports.store import ObjectMissing, Store


class StepNote(Record):
    """What one step of a job left: its facts, and the epoch that put them."""

    epoch: int
    facts: dict[str, Any]


class Ledger:
    """The ledger over one store. Methods raise StoreError; none of them waits for another job."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def accepted(self, cluster: str, job: str) -> Accepted | None:
        return await self._read(keys.job(cluster, job, "accepted.json"), Accepted)

    async def accept(self, record: Accepted) -> Accepted:
        """Record the answer to a command; returns what stands, which may be an earlier answer."""
        if record.rejected is None:
            marker = keys.job_open(record.service, record.cluster_id, record.job_id)
            await self._store.put_if_absent(marker, b"{}")
        return await self._decide(keys.job(record.cluster_id, record.job_id, "accepted.json"), record)

    async def newest_epoch(self, cluster: str, job: str) -> int:
        """0 if nobody has claimed the job."""
        prefix = keys.job(cluster, job, "epoch-")
        newest = 0
        async for found in self._store.list(prefix):
            newest = max(newest, int(found.key.removeprefix(prefix)))
        return newest

    async def claim(self, claim: EpochClaim, cluster: str) -> bool:
        """True if the epoch is ours; False if somebody claimed it first."""
        key = keys.job_epoch(cluster, claim.job_id, claim.epoch)
        return await self._store.put_if_absent(key, claim.to_bytes())

    async def note(self, cluster: str, job: str, name: str, epoch: int, facts: Mapping[str, Any]) -> StepNote:
        """Put a step's note if it is not there; returns what stands."""
        key = keys.job(cluster, job, f"step-{name}.json")
        return await self._decide(key, StepNote(epoch=epoch, facts=dict(facts)))

    async def notes(self, cluster: str, job: str) -> dict[str, Mapping[str, Any]]:
        prefix = keys.job(cluster, job, "step-")
        found = [entry.key async for entry in self._store.list(prefix)]
        return {
            key.removeprefix(prefix).removesuffix(".json"): parse(StepNote, await self._store.get(key), key).facts
            for key in found
        }

    async def request_cancel(self, cluster: str, request: CancelRequest) -> CancelRequest:
        return await self._decide(keys.job(cluster, request.job_id, "cancel.json"), request)

    async def cancel_request(self, cluster: str, job: str) -> CancelRequest | None:
        return await self._read(keys.job(cluster, job, "cancel.json"), CancelRequest)

    async def decide_verdict(self, cluster: str, verdict: Verdict) -> Verdict:
        """The verdict that stands, ours or an earlier one."""
        return await self._decide(keys.job(cluster, verdict.job_id, "verdict.json"), verdict)

    async def verdict(self, cluster: str, job: str) -> Verdict | None:
        return await self._read(keys.job(cluster, job, "verdict.json"), Verdict)

    async def finish(self, cluster: str, terminal: Terminal) -> Terminal:
        """Record the end of a job; returns the end that stands."""
        return await self._decide(keys.job(cluster, terminal.job_id, "terminal.json"), terminal)

    async def terminal(self, cluster: str, job: str) -> Terminal | None:
        return await self._read(keys.job(cluster, job, "terminal.json"), Terminal)

    async def ended(self, cluster: str, job: str) -> bool:
        """Whether a job is over: it has its end, or was forgotten long after it. Locks and pins are void then."""
        return await self.terminal(cluster, job) is not None or await self.accepted(cluster, job) is None

    async def close(self, service: str, cluster: str, job: str) -> None:
        """Take the marker away: the terminal event has been acknowledged."""
        await self._store.delete([keys.job_open(service, cluster, job)])

    async def open_jobs(self, service: str) -> list[tuple[str, str]]:
        """(cluster, job) of every marker of a service."""
        prefix = f"{keys.JOBS_OPEN}{service}/"
        found = []
        async for entry in self._store.list(prefix):
            cluster, job = entry.key.removeprefix(prefix).split("/")
            found.append((cluster, job))
        return found

    async def _read(self, key: str, model: type[RecordType]) -> RecordType | None:
        try:
            return parse(model, await self._store.get(key), key)
        except ObjectMissing:
            return None

    async def _decide(self, key: str, record: RecordType) -> RecordType:
        if await self._store.put_if_absent(key, record.to_bytes()):
            return record
        return parse(type(record), await self._store.get(key), key)
