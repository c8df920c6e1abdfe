"""Partitions agree with Java's clients, or two instances would work on one cluster."""

import pytest

from schemas.topics import COMMANDS, STATUS
from tidewind.bus.partitioner import murmur2, partition_of, routing_part

# From Apache Kafka's own UtilsTest.testMurmur2.
JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("key", JAVA)
def test_the_hash_is_java_s(key):
    assert murmur2(key) == JAVA[key] & 0xFFFFFFFF


@pytest.mark.parametrize("key", JAVA)
def test_the_partition_is_that_of_java_s_default_partitioner(key):
    # Java clears the sign bit and takes the rest modulo the number of partitions.
    assert partition_of(key.decode(), 12) == (JAVA[key] & 0x7FFFFFFF) % 12


def test_status_keys_lie_with_their_cluster():
    for key in (b"cluster/shop", b"job/shop/0f0e", b"backup/shop/bkp_1"):
        assert routing_part(STATUS, key) == b"shop"
    for odd in (b"shop", b"a/b/c/d", b"job//x", b""):
        assert routing_part(STATUS, odd) == odd
    assert routing_part(COMMANDS, b"a/b") == b"a/b"
