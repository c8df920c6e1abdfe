"""The embedded broker: librdkafka's mock cluster, a real Kafka listener on loopback inside this process.

It is for one user and a few minutes. It keeps everything in memory and drops the oldest records of a
partition above 5 MiB; it has no topic administration over the wire, no compaction, no log-append time, no
authentication, and two members in one consumer group are racy. A topic has the declared number of
partitions only if it was made here before a client asked for it.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tidewind.embedded.processes import ProgramMissingError, ServerStartError

_PRODUCER: Final = 0
_NO_ERROR: Final = 0
_CONF_OK: Final = 0
_ERROR_BYTES: Final = 512


def _library_path() -> Path:
    """The librdkafka that the confluent-kafka wheel carries."""
    spec = importlib.util.find_spec("confluent_kafka")
    if spec is None or spec.origin is None:
        raise ProgramMissingError("the embedded broker needs the confluent-kafka package: pip install 'tidewind[demo]'")
    package = Path(spec.origin).parent
    folders = (package.with_name("confluent_kafka.libs"), package / ".dylibs")
    for folder in folders:
        found = sorted(folder.glob("librdkafka*.so*")) + sorted(folder.glob("librdkafka*.dylib"))
        if found:
            return found[0]
    raise ProgramMissingError(
        f"the confluent-kafka package beside {package.parent} carries no librdkafka: it was built "
        "from source; install its wheel"
    )


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(str(_library_path()))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures: dict[str, tuple[object, list[object]]] = {
        "rd_kafka_conf_new": (pointer, []),
        "rd_kafka_conf_set": (number, [pointer, text, text, text, ctypes.c_size_t]),
        "rd_kafka_conf_destroy": (None, [pointer]),
        "rd_kafka_new": (pointer, [number, pointer, text, ctypes.c_size_t]),
        "rd_kafka_destroy": (None, [pointer]),
        "rd_kafka_err2str": (text, [number]),
        "rd_kafka_mock_cluster_new": (pointer, [pointer, number]),
        "rd_kafka_mock_cluster_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [pointer, ctypes.c_int32]),
        "rd_kafka_mock_topic_create": (number, [pointer, text, number, number]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


class EmbeddedBroker:
    """Use as `with EmbeddedBroker() as broker: address = broker.start(names)`. Calls take milliseconds."""

    def __init__(self) -> None:
        self._library = _load()
        self._client: int | None = None
        self._cluster: int | None = None
        self._address = ""

    def start(self, topics: Iterable[str], partitions: int = 12) -> str:
        """Make the cluster and its topics; returns the bootstrap address, `127.0.0.1:PORT`."""
        if self._cluster is not None:
            raise ServerStartError("the embedded broker is already running")
        library = self._library
        self._client = self._new_client()
        self._cluster = library.rd_kafka_mock_cluster_new(self._client, 1)
        if not self._cluster:
            self.close()
            raise ServerStartError("librdkafka could not make the embedded broker")
        # Without this the first member of a group waits three seconds for others that never come.
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        for topic in topics:
            self.add_topic(topic, partitions)
        self._address = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        return self._address

    @property
    def address(self) -> str:
        if self._cluster is None:
            raise ServerStartError("the embedded broker is not running")
        return self._address

    def add_topic(self, topic: str, partitions: int = 12) -> None:
        """Make a topic that no client has asked for yet (one that was asked for exists with 4 partitions)."""
        if self._cluster is None:
            raise ServerStartError("the embedded broker is not running")
        code = self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1)
        if code != _NO_ERROR:
            reason = self._library.rd_kafka_err2str(code).decode()
            raise ServerStartError(f"the embedded broker refused topic {topic!r}: {reason}")

    def close(self) -> None:
        """End the cluster; its records are gone. A second call does nothing."""
        if self._cluster:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        if self._client:
            self._library.rd_kafka_destroy(self._client)
        self._cluster = self._client = None

    def __enter__(self) -> EmbeddedBroker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _new_client(self) -> int:
        library = self._library
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        conf = library.rd_kafka_conf_new()
        # Its notices about clients that come and go are not for the user of a demo.
        if library.rd_kafka_conf_set(conf, b"log_level", b"3", error, _ERROR_BYTES) != _CONF_OK:
            library.rd_kafka_conf_destroy(conf)
            raise ServerStartError(f"librdkafka refused its settings: {error.value.decode()}")
        client: int | None = library.rd_kafka_new(_PRODUCER, conf, error, _ERROR_BYTES)
        if not client:
            library.rd_kafka_conf_destroy(conf)
            raise ServerStartError(f"librdkafka could not start: {error.value.decode()}")
        return client
