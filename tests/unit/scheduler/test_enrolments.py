"""A cluster that another service enrolled is looked at when its job ends."""

from services.scheduler.handlers.enrolments import Enrolments
from tests.fakes import ManualClock
from tests.unit.scheduler.test_rules import NOW

ENROLL = "tidewind.cluster.enroll.v1"


class View:
    def __init__(self, there=True):
        self.there = there
        self.bodies = {}

    def caught_up(self):
        return self.there

    def keys(self, prefix):
        return sorted(key for key in self.bodies if key.startswith(prefix))

    def get(self, key):
        return self.bodies.get(key)

    def job(self, cluster, job, command=ENROLL, state="ended"):
        self.bodies[f"job/{cluster}/{job}"] = {"cluster_id": cluster, "command": command, "state": state}


def watching(view, owns=lambda _: True):
    nudged = []
    return Enrolments(view, ManualClock(NOW), nudged.append, owns=owns), nudged


def test_each_end_is_told_once_and_what_ended_before_is_no_news():
    view = View()
    view.job("old", "1")
    view.job("shop", "2", state="running")
    enrolments, nudged = watching(view)
    assert enrolments.look() == []
    view.job("shop", "2")
    assert enrolments.look() == ["shop"]
    assert enrolments.look() == []
    assert nudged == ["shop"]


def test_other_commands_and_other_instances_clusters_are_left_alone():
    view = View()
    enrolments, nudged = watching(view, owns=lambda cluster: cluster != "theirs")
    enrolments.look()
    view.job("shop", "1", command="tidewind.backup.run.v1")
    view.job("theirs", "2")
    assert enrolments.look() == []
    assert nudged == []


def test_nothing_is_said_before_the_topic_was_read():
    view = View(there=False)
    view.job("shop", "1")
    enrolments, _ = watching(view)
    assert enrolments.look() == []
    view.there = True
    assert enrolments.look() == []
    view.job("shop", "2")
    assert enrolments.look() == ["shop"]
