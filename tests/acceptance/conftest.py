"""One deployment with one protected shop that the acceptance tests of a module share."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.acceptance.protected import ProtectedShop, protected_shop, shop_server


@pytest.fixture(scope="module")
async def protected(kafka: str, server_directory: Callable[[str], Path]) -> AsyncIterator[ProtectedShop]:
    async with (
        shop_server(server_directory("protected-mariadb")) as server,
        protected_shop(server_directory("protected"), kafka, server) as made,
    ):
        yield made
