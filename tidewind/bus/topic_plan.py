"""What differs between the topics as declared and as they are, and what would be done about it. Pure.

Nothing is ever shrunk: a longer retention or a larger limit set by an operator stays. The number of partitions is never
changed in either direction: it decides which instance handles a cluster, is recorded in the repository when it is made,
and a change would part a cluster's old records from its new ones.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from schemas.topics import DEFAULT_PARTITIONS, TOPICS, Topic

Action = Literal["create", "configure", "refuse", "advise"]

_AT_LEAST = frozenset({"retention.ms", "max.message.bytes", "delete.retention.ms", "min.insync.replicas"})
_UNLIMITED = "-1"


@dataclass(frozen=True, kw_only=True)
class TopicState:
    """A topic as the broker describes it. `config` None: this broker does not tell. `overrides` are the settings made
    for this topic itself."""

    partitions: int
    replicas: int
    config: Mapping[str, str] | None
    overrides: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class TopicChange:
    """One line of the plan. `refuse` cannot be mended by `apply`; `advise` does not hinder the services."""

    topic: str
    action: Action
    text: str
    fix: str
    settings: Mapping[str, str]

    @property
    def hinders(self) -> bool:
        """Whether services must not start before this is mended."""
        return self.action != "advise"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The deployment's numbers."""

    prefix: str
    partitions: int
    replicas: int


def settings_for(topic: Topic, replicas: int) -> dict[str, str]:
    """The topic's settings in a cluster with that many replicas. With three, one may be lost and writing goes on."""
    durable = {
        "min.insync.replicas": str(2 if replicas >= 3 else 1),
        "unclean.leader.election.enable": "false",
    }
    return topic.config() | durable


def partitions_of(existing: Mapping[str, TopicState], asked: int | None, topics: Sequence[Topic] = TOPICS) -> int:
    """How many partitions the deployment's topics have: what was asked for, else what more than half of the declared
    topics have, else the default. One topic that a client made by using it decides nothing."""
    if asked is not None:
        return asked
    for count, topics_with_it in Counter(state.partitions for state in existing.values()).most_common(1):
        if topics_with_it * 2 > len(topics):
            return count
    return DEFAULT_PARTITIONS


def plan(
    existing: Mapping[str, TopicState], wanted: Wanted, topics: Sequence[Topic] = TOPICS
) -> tuple[TopicChange, ...]:
    """Everything that differs, in the order of the table; empty if nothing does. `existing` is by full name."""
    changes: list[TopicChange] = []
    for topic in topics:
        name = topic.full_name(wanted.prefix)
        state = existing.get(name)
        if state is None:
            changes.append(_creation(topic, name, wanted))
        else:
            changes += _differences(topic, name, state, wanted)
    return tuple(changes)


def _creation(topic: Topic, name: str, wanted: Wanted) -> TopicChange:
    settings = settings_for(topic, wanted.replicas)
    text = f"does not exist; {wanted.partitions} partitions, {wanted.replicas} replicas, {_listed(settings)}"
    return TopicChange(topic=name, action="create", text=text, fix="tidewind topics apply", settings=settings)


def _differences(topic: Topic, name: str, state: TopicState, wanted: Wanted) -> list[TopicChange]:
    changes = []
    if state.partitions != wanted.partitions:
        changes.append(_wrong_count(name, state, wanted))
    if state.replicas < wanted.replicas:
        text = f"has {state.replicas} replica(s) instead of {wanted.replicas}: losing a broker can lose messages"
        fix = f"kafka-reassign-partitions.sh, topic {name}, {wanted.replicas} replicas"
        changes.append(TopicChange(topic=name, action="advise", text=text, fix=fix, settings={}))
    if state.config is None:
        text = "the broker does not tell this topic's settings, so they are not checked"
        changes.append(TopicChange(topic=name, action="advise", text=text, fix="", settings={}))
        return changes
    drift = {
        setting: value
        for setting, value in settings_for(topic, min(state.replicas, wanted.replicas)).items()
        if not _satisfied(setting, state.config.get(setting), value)
    }
    if drift:
        was = {setting: state.config.get(setting, "?") for setting in drift}
        text = f"has {_listed(was)} instead of {_listed(drift)}"
        changes.append(
            TopicChange(
                topic=name,
                action="configure",
                text=text,
                fix="tidewind topics apply",
                settings=dict(state.overrides) | drift,
            )
        )
    return changes


def _wrong_count(name: str, state: TopicState, wanted: Wanted) -> TopicChange:
    text = (
        f"has {state.partitions} partitions instead of {wanted.partitions}, as if a client had made it by using it: "
        "a cluster's messages would not meet in one partition"
    )
    fix = (
        f"switch auto.create.topics.enable off; if the topic is empty: kafka-topics.sh --delete --topic {name}, then "
        "tidewind topics apply"
    )
    return TopicChange(topic=name, action="refuse", text=text, fix=fix, settings={})


def _satisfied(setting: str, present: str | None, declared: str) -> bool:
    if present is None:
        return False
    if setting in _AT_LEAST and present.lstrip("-").isdigit():
        return present == _UNLIMITED or int(present) >= int(declared)
    return present == declared


def _listed(settings: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())
