"""TLS and SASL against a real Kafka, and the errors of a tired operator."""

import pytest

from schemas.topics import EVENTS
from tests.integration.bus_support import CLOCK, Recorder, eventually, message, running
from tests.servers.certificates import make_certificates
from tidewind.bus.admin import TopicAdmin
from tidewind.bus.connection import Connection
from tidewind.bus.consumer import Consumer, ConsumerRules
from tidewind.bus.publisher import KafkaPublisher
from tidewind.bus.settings import BusSettings
from tidewind.bus.status_view import KafkaStatusView
from tidewind.ports.bus import BusUnavailable
from tidewind.runtime.secrets import resolve


def secure(server, monkeypatch, *, password=None, ca=None, **more) -> Connection:
    monkeypatch.setenv("TW_TEST_KAFKA_PASSWORD", server.password if password is None else password)
    values = {
        "bootstrap": server.secure_address,
        "prefix": "secure.",
        "security_protocol": "SASL_SSL",
        "sasl_username": server.username,
        "sasl_password": "env:TW_TEST_KAFKA_PASSWORD",
        "ca": f"file:{ca or server.certificates.ca}",
        "replication_factor": 1,
        "request_timeout_s": 5,
    }
    return Connection(BusSettings.model_validate(values | more), resolve)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
async def test_everything_works_over_tls_with_a_password(secure_kafka, monkeypatch, mechanism):
    link = secure(secure_kafka, monkeypatch, sasl_mechanism=mechanism)
    await TopicAdmin(link).apply()
    publisher = KafkaPublisher(link)
    await publisher.start()
    recorder = Recorder()
    consumer = Consumer(link, publisher, ConsumerRules(group=mechanism), {EVENTS: recorder}, clock=CLOCK)
    view = KafkaStatusView(link, CLOCK)
    await view.start()
    async with running(consumer), running(view):
        await publisher.send(EVENTS, message(mechanism.lower(), 1))
        await eventually(lambda: recorder.numbers(mechanism.lower()) == [1])
        assert await view.wait_until(view.caught_up, deadline_s=60)
    await publisher.close()


async def refusal(link) -> str:
    publisher = KafkaPublisher(link)
    with pytest.raises(BusUnavailable) as refused:
        await publisher.start(deadline_s=1.5)
    return str(refused.value)


async def test_a_wrong_password_is_named_as_such_and_not_shown(secure_kafka, monkeypatch):
    text = await refusal(secure(secure_kafka, monkeypatch, password="hunter-2-secret"))
    assert "uthentication" in text
    assert "hunter-2-secret" not in text
    assert secure_kafka.secure_address in text


async def test_an_authority_that_did_not_sign_the_certificate_is_named(secure_kafka, monkeypatch, tmp_path):
    other = make_certificates(tmp_path, name="somebody else")
    text = await refusal(secure(secure_kafka, monkeypatch, ca=other.ca))
    assert "certificate verify failed" in text


async def test_plaintext_to_a_tls_port_is_an_error_within_the_deadline(secure_kafka):
    settings = BusSettings(bootstrap=secure_kafka.secure_address, request_timeout_s=2)
    assert secure_kafka.secure_address in await refusal(Connection(settings, resolve))


async def test_a_host_name_that_the_certificate_does_not_hold_is_refused(secure_kafka, monkeypatch):
    port = secure_kafka.secure_address.rpartition(":")[2]
    text = await refusal(secure(secure_kafka, monkeypatch, bootstrap=f"127.0.0.2:{port}"))
    assert "127.0.0.2" in text
