"""deploy/: alarms and dashboard ask for figures that the services export, and for services that the compose file runs."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tidewind.runtime.metrics import REGISTRY

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = yaml.safe_load((PROMETHEUS / "tidewind.rules.yml").read_text())["groups"][0]["rules"]
PANELS = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "tidewind.json").read_text())["panels"]
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
EXPORTED = {family.name + suffix for family in REGISTRY.collect() for suffix in SUFFIXES[family.type]}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alarm_is_about_exported_figures_and_says_what_to_do(rule):
    asked = set(re.findall(r"tidewind_\w+", rule["expr"]))
    assert asked
    assert asked <= EXPORTED
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert {"summary", "description"} <= rule["annotations"].keys()


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_shows_exported_figures(panel):
    for target in panel["targets"]:
        asked = set(re.findall(r"tidewind_\w+", target["expr"]))
        assert asked
        assert asked <= EXPORTED


def test_prometheus_scrapes_the_services_of_the_compose_file():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    running = {name for name, service in compose.items() if service.get("command", [])[:2] == ["python", "-m"]}
    (scraped,) = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    targets = scraped["static_configs"][0]["targets"]
    assert {target.removesuffix(":8080") for target in targets} == running
