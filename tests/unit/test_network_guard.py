"""The guard of tests/conftest.py: the fast suites cannot reach a network by accident."""

import asyncio
import socket

import pytest


def test_a_connection_is_refused_before_it_is_tried():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with socket.socket() as client, pytest.raises(AssertionError, match="tests/unit must not open"):
            client.connect(server.getsockname())


async def test_asyncio_is_guarded_too():
    with pytest.raises(AssertionError, match="tests/unit must not open"):
        await asyncio.open_connection("127.0.0.1", 9)
