"""Which anonymous accounts stand before the service's."""

import pytest

from tidewind.engines.mariadb.restore.shadowing import blocker, hosts_before


@pytest.mark.parametrize(
    ("own", "service", "anonymous", "before"),
    [
        ("10.0.0.5", ["%"], ["10.0.0.5", "10.0.%", "192.168.%", "localhost", "%"], ["10.0.%", "10.0.0.5"]),
        ("10.0.0.5", ["10.0.0.5"], ["10.0.%", "%"], []),
        ("10.0.0.5", ["%", "10.0.%"], ["10.0.%", "10.%"], []),
        ("10.0.0.5", ["10.%"], ["%", "10.0.0.0/255.255.255.0"], ["10.0.0.0/255.255.255.0"]),
        ("localhost", ["%"], ["localhost", "db-1"], ["localhost"]),
        ("localhost", ["%"], ["127.0.0.1"], ["127.0.0.1"]),
        ("app-1.corp", ["%"], ["192.168.%", "localhost"], ["192.168.%"]),
        ("app-1.corp", ["%"], ["app\\_1.corp", "app_1.%"], ["app_1.%"]),
        ("10.0.0.5", ["%"], [], []),
        ("127.0.0.1", ["127.0.0.1"], ["localhost"], []),
        ("10.0.0.5", ["10.0.0%"], ["1_.0.0.5"], ["1_.0.0.5"]),
        ("app-1.corp.example", ["app%"], ["%.corp.example", "ap%"], ["%.corp.example"]),
    ],
)
def test_anonymous_accounts_before_the_service(
    own: str, service: list[str], anonymous: list[str], before: list[str]
) -> None:
    assert hosts_before(own, service, anonymous) == before


def test_a_blocker_names_the_account_to_create() -> None:
    found = blocker("svc", "10.0.0.5", ["%"], ["10.0.%", "localhost"])
    assert found is not None
    assert found.level == "error"
    assert str(found.fix).startswith("Create `svc`@`10.0.%`")
    assert blocker("svc", "10.0.0.5", ["%", "10.0.%"], ["10.0.%"]) is None
    assert blocker("not-there", "10.0.0.5", [], ["10.0.%"]) is None
