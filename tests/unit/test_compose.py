"""docker-compose.yml as far as it can be judged without an engine: it is whole, and names what exists."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_for_what_can_become_ready(name):
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        condition = wait["condition"]
        assert other in SERVICES
        if condition == "service_healthy":
            assert "test" in SERVICES[other]["healthcheck"]
        elif condition != "service_started":
            assert condition == "service_completed_successfully"
            assert SERVICES[other].get("restart", "no") == "no", f"{other} never completes"


@pytest.mark.parametrize("name", SERVICES)
def test_volumes_are_declared_and_ports_stay_on_loopback(name):
    for volume in SERVICES[name].get("volumes", ()):
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] or (ROOT / source).is_dir()
    for port in SERVICES[name].get("ports", ()):
        assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name):
    image = SERVICES[name]["image"]
    assert image == "tidewind" or (":" in image and not image.endswith(":latest"))


def test_the_services_are_the_ones_that_exist():
    started = {name for name, service in SERVICES.items() if service.get("command", [])[:2] == ["python", "-m"]}
    assert {SERVICES[name]["command"][2] for name in started} == {f"services.{name}" for name in started}
    for name in started:
        assert importlib.util.find_spec(f"services.{name}.__main__") is not None, name


def test_the_image_installs_from_the_lock():
    steps = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes -r requirements/run.lock" in steps
    assert "USER tidewind" in steps
