"""What the restorer's handlers are given to act with."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.restorer.rules.plan import Assumptions
from services.restorer.settings import RestorerSettings
from tidewind.ports.bus import StatusView
from tidewind.ports.capture import LogDecoder
from tidewind.ports.clock import Clock
from tidewind.ports.engine import StoreFactory
from tidewind.ports.restore import Mint, RestoreEngine
from tidewind.ports.store import VerifiableStore
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.log_archive import LogArchive
from tidewind.runtime.operations import OperationLock
from tidewind.runtime.registry import Registry


@dataclass(frozen=True, kw_only=True)
class RestoreTools:
    """`mint` derives the passwords of the accounts that restores make for themselves."""

    engines: Mapping[str, RestoreEngine]
    store: VerifiableStore
    open_store: StoreFactory
    ledger: Ledger
    operations: OperationLock
    registry: Registry
    catalogue: Catalogue
    archived: LogArchive
    decoders: Mapping[str, LogDecoder]
    view: StatusView
    clock: Clock
    mint: Mint
    settings: RestorerSettings

    @property
    def assumptions(self) -> Assumptions:
        return Assumptions(
            load_mb_per_s=self.settings.load_mb_per_s,
            replay_transactions_per_s=self.settings.replay_transactions_per_s,
            space_factor=self.settings.space_factor,
            limit=self.settings.limit,
            undo_kept=self.settings.undo_kept,
        )
