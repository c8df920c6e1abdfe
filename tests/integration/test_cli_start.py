"""What a command that speaks to Kafka, and to nothing else, imports."""

from tests.loaded_modules import CLIENTS, loaded


def test_it_loads_no_store_and_no_database(kafka):
    code, modules = loaded("topics", "plan", environment={"TIDEWIND_KAFKA_BOOTSTRAP": kafka})
    assert code == 0
    assert "aiokafka" in modules
    assert modules & (CLIENTS - {"aiokafka"}) == set()
    assert "tidewind.assembly" not in modules
