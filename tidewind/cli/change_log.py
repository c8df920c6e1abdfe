"""Reads the archived log for `tidewind changes`: from the store to one value a transaction."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime

from tidewind.cli.endings import NOT_FOUND, Complaint
from tidewind.cli.ports import Change
from tidewind.cli.session import unknown
from tidewind.domain.lived import instant, microseconds
from tidewind.ports.capture import LogDecoder, Summary
from tidewind.ports.store import ObjectDamaged, Store
from tidewind.runtime.log_archive import LogArchive
from tidewind.runtime.log_reader import ReadTransaction, transactions
from tidewind.runtime.registry import Registry


async def read_changes(
    store: Store, decoders: Mapping[str, LogDecoder], cluster: str, begin: datetime, end: datetime
) -> AsyncIterator[Change]:
    """Oldest first, whichever histories they lie in, with the gaps between these. Raises Complaint for a cluster that
    is unknown or was never captured, StoreError."""
    entry = await Registry(store).newest(cluster)
    if entry is None:
        known = [one.cluster_id async for one in Registry(store).clusters()]
        raise unknown("cluster", cluster, known, "tidewind cluster list")
    decoder = decoders[entry.engine]
    archived = LogArchive(store)
    from_us, to_us = microseconds(begin), microseconds(end)
    histories = await archived.histories(cluster)
    if not histories:
        raise Complaint(
            NOT_FOUND,
            f"no log of {cluster} was captured: what was written to it is not known",
            ("next", "run the changelog with TIDEWIND_CAPTURE=true; until then it goes back to its backups only"),
            ("see", f"tidewind window --cluster {cluster}"),
        )
    for history in histories:
        if history.after is not None and from_us <= history.begin_us <= to_us:
            yield Change(
                at=instant(history.begin_us),
                position=history.position,
                precision="clock",
                summary=Summary(),
                unread=False,
                gap=history.detail or history.cause,
            )
        first = await archived.first_where(
            cluster, history.history, lambda head: (head.last_us or head.complete_us) >= from_us
        )
        if first is None or history.begin_us > to_us:
            continue
        number = max(1, first.number)
        async for read in transactions(archived, cluster, history.history, first=number, from_us=from_us, to_us=to_us):
            yield _change(decoder, cluster, read)


def _change(decoder: LogDecoder, cluster: str, read: ReadTransaction) -> Change:
    summary = Summary()
    if read.data is not None:
        try:
            summary = decoder.summary(read.preamble, read.data)
        except ValueError as error:
            raise ObjectDamaged(
                "read", f"{cluster} {read.transaction.gtid}", f"the transaction cannot be read: {error}"
            ) from None
    return Change(
        at=instant(read.transaction.time_us),
        position=read.transaction.gtid,
        precision=read.precision,
        summary=summary,
        unread=read.data is None,
    )
