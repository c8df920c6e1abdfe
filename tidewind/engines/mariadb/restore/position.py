"""The head of the server's log, and its clock."""

from datetime import UTC, datetime

from tidewind.engines.mariadb.restore.link import Link


async def head(link: Link) -> str | None:
    """The GTID list of the binary log's end; None with the log off."""
    if not int(await link.value("SELECT @@GLOBAL.log_bin")):
        return None
    return str(await link.value("SELECT @@GLOBAL.gtid_binlog_pos"))


async def clock(link: Link) -> datetime:
    """The server's own clock, UTC whatever zone the session was left in: definitions are made in theirs."""
    moment: datetime = await link.value("SELECT UTC_TIMESTAMP(6)")
    return moment.replace(tzinfo=UTC)
