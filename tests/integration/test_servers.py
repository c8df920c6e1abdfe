"""The servers the other tests stand on: each starts, does its work, and behaves as the tests assume."""

import asyncio
import os
import secrets
import signal
import ssl
import sys
from dataclasses import replace
from pathlib import Path

import aiomysql
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from botocore.exceptions import ClientError, SSLError

from tests.servers.certificates import make_certificates
from tests.servers.s3 import S3Endpoint
from tidewind.embedded.broker import EmbeddedBroker
from tidewind.embedded.processes import ServerStartError

DEADLINE = 30


async def new_topic(address: str, **config: str) -> str:
    name = f"servers-{secrets.token_hex(4)}"
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 12, 1, topic_configs=config)])
    finally:
        await admin.close()
    return name


async def send(address: str, topic: str, value: bytes, **security: object) -> None:
    async with AIOKafkaProducer(bootstrap_servers=address, acks="all", **security) as producer:
        await producer.send_and_wait(topic, value, key=b"shop")


async def receive(address: str, topic: str, count: int, **security: object) -> list[bytes]:
    """The next `count` values, as a fresh consumer group sees them."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=address,
        group_id=f"group-{secrets.token_hex(4)}",
        auto_offset_reset="earliest",
        **security,
    )
    async with asyncio.timeout(DEADLINE), consumer:
        return [(await consumer.getone()).value for _ in range(count)]


async def select(server, sql: str, **login: object) -> tuple:
    connection = await server.connect(**login)
    try:
        async with connection.cursor() as cursor:
            await cursor.execute(sql)
            return await cursor.fetchall()
    finally:
        connection.close()


async def test_kafka_keeps_records_and_refuses_unknown_topics(kafka):
    topic = await new_topic(kafka, **{"message.timestamp.type": "LogAppendTime"})
    await send(kafka, topic, b"hello")
    assert await receive(kafka, topic, 1) == [b"hello"]

    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    answer = await admin.describe_topics(["nobody-made-this"])
    await admin.close()
    assert answer[0]["error_code"] == UnknownTopicOrPartitionError.errno


async def test_kafka_continues_after_kill_and_pause(kafka_factory):
    server = await kafka_factory()
    topic = await new_topic(server.address)
    await send(server.address, topic, b"before the kill")
    await server.kill()
    with pytest.raises(KafkaError):
        await send(server.address, topic, b"lost")
    await server.start()
    await send(server.address, topic, b"after the kill")
    server.pause()
    waiting = asyncio.create_task(send(server.address, topic, b"after the pause"))
    done, _ = await asyncio.wait([waiting], timeout=1)
    assert not done, "a paused broker must not acknowledge"
    server.resume()
    await asyncio.wait_for(waiting, DEADLINE)
    assert await receive(server.address, topic, 3) == [
        b"before the kill",
        b"after the kill",
        b"after the pause",
    ]


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
async def test_secure_kafka_wants_the_authority_and_the_password(secure_kafka, certificates, mechanism):
    topic = await new_topic(secure_kafka.address)
    security = {
        "security_protocol": "SASL_SSL",
        "ssl_context": ssl.create_default_context(cafile=str(certificates.ca)),
        "sasl_mechanism": mechanism,
        "sasl_plain_username": secure_kafka.username,
        "sasl_plain_password": secure_kafka.password,
    }
    await send(secure_kafka.secure_address, topic, b"sealed", **security)
    assert await receive(secure_kafka.secure_address, topic, 1, **security) == [b"sealed"]

    with pytest.raises(KafkaError):
        await send(secure_kafka.secure_address, topic, b"no", **{**security, "sasl_plain_password": "wrong"})
    with pytest.raises(KafkaError):
        await send(
            secure_kafka.secure_address,
            topic,
            b"no",
            **{**security, "ssl_context": ssl.create_default_context()},
        )


async def test_embedded_broker_has_the_partitions_it_was_told():
    with EmbeddedBroker() as broker:
        address = broker.start(["a.v1", "b.v1"], partitions=12)
        broker.add_topic("c.v1", 12)
        async with AIOKafkaProducer(bootstrap_servers=address) as producer:
            for topic in ("a.v1", "b.v1", "c.v1"):
                await producer.send_and_wait(topic, topic.encode(), key=b"shop")
                assert len(await producer.partitions_for(topic)) == 12
        assert await receive(address, "b.v1", 1) == [b"b.v1"]
        assert broker.address == address
    broker.close()
    with pytest.raises(ServerStartError, match="not running"):
        _ = broker.address


async def test_mariadb_is_set_up_for_a_row_log(mariadb):
    rows = await select(
        mariadb, "SELECT @@log_bin, @@binlog_format, @@binlog_row_image, @@gtid_strict_mode, @@server_id"
    )
    assert rows == ((1, "ROW", "FULL", 1, 1),)
    accounts = await select(mariadb, "SELECT User, Host FROM mysql.user WHERE User <> 'mariadb.sys'")
    assert sorted(accounts) == [("root", "127.0.0.1"), ("root", "localhost")]
    with pytest.raises(aiomysql.OperationalError, match="Access denied"):
        await select(mariadb, "SELECT 1", password="")


async def test_mariadb_survives_kill_and_keeps_port_and_password(mariadb_factory, certificates):
    server = await mariadb_factory(server_id=7, options=certificates.mariadb_options())
    assert (await select(server, "SELECT @@gtid_current_pos"))[0] == ("",), "set-up must not be in the log"
    await select(server, "CREATE DATABASE shop")
    await select(server, "CREATE TABLE shop.t (a INT) ENGINE = InnoDB")
    await select(server, "INSERT INTO shop.t VALUES (42)")
    port = server.port
    await server.kill()
    await server.start(extra_options=["--event-scheduler=ON"])
    assert server.port == port
    assert await select(server, "SELECT a, @@event_scheduler, @@have_ssl FROM shop.t") == ((42, "ON", "YES"),)
    assert (await select(server, "SELECT @@gtid_current_pos"))[0] == ("0-7-3",)
    await server.stop()
    assert not server.running


async def test_mariadb_says_why_it_did_not_start(mariadb_factory):
    with pytest.raises(ServerStartError, match="unknown variable 'no-such-option"):
        await mariadb_factory(options=["--no-such-option=1"])


async def put_twice(endpoint: S3Endpoint) -> tuple[str, bytes]:
    """Put a key twice with If-None-Match: the second answer (a code, or `stored`) and what the key then
    holds."""
    bucket = await endpoint.new_bucket()
    async with endpoint.client() as client:
        await client.put_object(Bucket=bucket, Key="a/b", Body=b"first", IfNoneMatch="*")
        try:
            await client.put_object(Bucket=bucket, Key="a/b", Body=b"second", IfNoneMatch="*")
            answer = "stored"
        except ClientError as error:
            answer = error.response["Error"]["Code"]
        stored = await client.get_object(Bucket=bucket, Key="a/b")
        return answer, await stored["Body"].read()


async def test_s3_server_treats_if_none_match_as_its_class_says(s3_server):
    refused, replaced = ("PreconditionFailed", b"first"), ("stored", b"second")
    expected = {"s3proxy": refused, "moto": refused, "versitygw": replaced}[s3_server.name]
    assert s3_server.endpoint.honours_if_none_match is (expected == refused)
    assert await put_twice(s3_server.endpoint) == expected


async def test_s3_server_keeps_a_multipart_object(s3_server):
    bucket = await s3_server.endpoint.new_bucket()
    parts = [b"a" * 5 * 1024 * 1024, b"b" * 1000]
    async with s3_server.endpoint.client() as client:
        upload = await client.create_multipart_upload(Bucket=bucket, Key="big")
        address = {"Bucket": bucket, "Key": "big", "UploadId": upload["UploadId"]}
        done = []
        for number, body in enumerate(parts, start=1):
            answer = await client.upload_part(**address, PartNumber=number, Body=body)
            done.append({"PartNumber": number, "ETag": answer["ETag"]})
        await client.complete_multipart_upload(**address, MultipartUpload={"Parts": done})
        stored = await client.get_object(Bucket=bucket, Key="big", Range=f"bytes={len(parts[0]) - 1}-")
        assert await stored["Body"].read() == b"a" + parts[1]


@pytest.fixture(params=["s3proxy", "versitygw"])
def s3_server_on_disk(request):
    return request.getfixturevalue(request.param)


async def test_if_none_match_does_not_guard_the_end_of_a_multipart_upload(s3_server_on_disk):
    endpoint = s3_server_on_disk.endpoint
    bucket = await endpoint.new_bucket()
    async with endpoint.client() as client:
        await client.put_object(Bucket=bucket, Key="k", Body=b"first")
        upload = await client.create_multipart_upload(Bucket=bucket, Key="k")
        address = {"Bucket": bucket, "Key": "k", "UploadId": upload["UploadId"]}
        part = await client.upload_part(**address, PartNumber=1, Body=b"second")
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        await client.complete_multipart_upload(**address, MultipartUpload=parts, IfNoneMatch="*")
        stored = await client.get_object(Bucket=bucket, Key="k")
        assert await stored["Body"].read() == b"second"


async def test_s3proxy_refuses_the_checksums_clients_send_by_default(s3proxy):
    bucket = await s3proxy.endpoint.new_bucket()
    async with replace(s3proxy.endpoint, checksums="when_supported").client() as client:
        with pytest.raises(ClientError, match="NotImplemented"):
            await client.put_object(Bucket=bucket, Key="k", Body=b"x")


async def test_s3_server_refuses_a_stranger(s3_server_on_disk):
    stranger = replace(s3_server_on_disk.endpoint, secret_key="not-the-secret")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        await stranger.new_bucket()


async def test_versitygw_behind_tls_is_reached_only_with_its_authority(versitygw_tls, certificates, tmp_path):
    assert versitygw_tls.endpoint.ca == certificates.ca
    assert await put_twice(versitygw_tls.endpoint) == ("stored", b"second")
    other = make_certificates(tmp_path, name="another authority")
    with pytest.raises(SSLError):
        await replace(versitygw_tls.endpoint, ca=other.ca).new_bucket()


async def test_versitygw_checks_checksums(versitygw):
    bucket = await versitygw.endpoint.new_bucket()
    async with versitygw.endpoint.client() as client:
        with pytest.raises(ClientError, match="BadDigest"):
            await client.put_object(Bucket=bucket, Key="k", Body=b"x", ChecksumSHA256="A" * 43 + "=")


async def test_s3_data_survives_a_kill(s3_server_on_disk):
    server = s3_server_on_disk
    bucket = await server.endpoint.new_bucket()
    async with server.endpoint.client() as client:
        await client.put_object(Bucket=bucket, Key="k", Body=b"kept")
    await server.kill()
    await server.start()
    async with server.endpoint.client() as client:
        stored = await client.get_object(Bucket=bucket, Key="k")
        assert await stored["Body"].read() == b"kept"


PARENT = """
import asyncio, sys
from pathlib import Path
from tidewind.embedded.mariadb import PrivateMariaDB

async def main():
    server = PrivateMariaDB(Path(sys.argv[1]))
    await server.start()
    print(server.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_server_ends_with_its_killed_parent(tmp_path):
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path / "db"), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(DEADLINE):
        pid = int(await parent.stdout.readline())
        assert Path(f"/proc/{pid}/comm").read_text() == "mariadbd\n"
        parent.kill()
        await parent.wait()
    try:
        async with asyncio.timeout(10):
            while Path(f"/proc/{pid}").exists():
                await asyncio.sleep(0.02)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        pytest.fail("the server outlived its parent")
