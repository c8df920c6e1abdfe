"""The head of the server's log."""

from tidewind.engines.mariadb.restore.link import Link


async def head(link: Link) -> str | None:
    """The GTID list of the binary log's end; None with the log off."""
    if not int(await link.value("SELECT @@GLOBAL.log_bin")):
        return None
    return str(await link.value("SELECT @@GLOBAL.gtid_binlog_pos"))
