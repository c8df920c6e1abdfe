"""Which partition a message belongs to: murmur2 of the cluster id, as Java's clients count it.

Everything about one cluster within a topic is ordered because all of it lies in one partition. Status keys begin with
their kind; it is the cluster id inside them that counts, so that a cluster's states are ordered too.
"""

from aiokafka.partitioner import murmur2

from schemas.topics import STATUS, Topic


def partition_of(cluster_id: str, partitions: int) -> int:
    """The partition of a cluster, from 0 to `partitions` - 1."""
    return partition_of_bytes(cluster_id.encode(), partitions)


def partition_of_bytes(key: bytes, partitions: int) -> int:
    """The same for a key as it lies on the wire."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


def routing_part(topic: Topic, key: bytes) -> bytes:
    """The part of a record's key that decides its partition: the cluster id.

    A status key without a cluster (`<kind>/<cluster>[/<id>]`) counts whole: such a record has no place of its own.
    """
    if topic.name != STATUS.name:
        return key
    parts = key.split(b"/")
    return parts[1] if len(parts) in (2, 3) and parts[1] else key
