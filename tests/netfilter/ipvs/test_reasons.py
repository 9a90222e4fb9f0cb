"""What traces say of a scheduler's choice, and what the kernel log says when it chose none."""

from __future__ import annotations

import pytest

from netemu.events import ServerChosen

TWO = "-a -t 10.96.0.1:80 -r 10.0.0.2:8080 -m -w 1\n-a -t 10.96.0.1:80 -r 10.0.0.3:8080 -m -w 3"
DRAINED = TWO.replace("-w 1", "-w 0").replace("-w 3", "-w 0")
FULL = TWO.replace("-w 1", "-w 1 -x 1").replace("-w 3", "-w 3 -x 1")


def choices(balancer, scheduler, servers, count, **sysctls):
    """Return the choices for so many connections, and the kernel log."""
    node = balancer(f"-A -t 10.96.0.1:80 -s {scheduler}\n{servers}", **sysctls)
    found = []
    node.net.sink = lambda stamp, event: (
        found.append(event) if isinstance(event, ServerChosen) else None
    )
    for number in range(count):
        node.send(f"tcp 192.0.2.9:{40000 + number} > 10.96.0.1:80 S")
    return found, node.net.log


@pytest.mark.parametrize(
    ("scheduler", "figures", "why"),
    [
        ("rr", ("weight 3", "weight 1"), "the next in the list after 10.0.0.3:8080"),
        ("lc", ("overhead 256 (1 active, 0 inactive)", "overhead 0 (0 active, 0 inactive)"),
         "the least overhead"),
        ("wlc", ("overhead 256 (1 active, 0 inactive) / weight 3 = 85.33",
                 "overhead 0 (0 active, 0 inactive) / weight 1 = 0.00"),
         "the least overhead / weight"),
        ("sed", ("(1 active + 1) / weight 3 = 0.66", "(0 active + 1) / weight 1 = 1.00"),
         "the least (active + 1) / weight"),
        ("nq", ("(1 active + 1) / weight 3 = 0.66", "(0 active + 1) / weight 1 = 1.00"),
         "the first without an active connection"),
        ("fo", ("weight 3", "weight 1"), "the highest weight"),
        ("ovf", ("1 active, weight 3", "0 active, weight 1"),
         "the highest weight of those that are not full"),
        ("lblc", ("overhead 256 (1 active, 0 inactive) / weight 3 = 85.33",
                  "overhead 0 (0 active, 0 inactive) / weight 1 = 0.00"), "it has 10.96.0.1"),
        ("dh", ("weight 3, has 128 of 256", "weight 1, has 128 of 256"),
         "10.96.0.1 hashes to bucket"),
        ("sh", ("weight 3, has 192 of 256", "weight 1, has 64 of 256"),
         "192.0.2.9 hashes to bucket"),
    ],
)  # fmt: skip
def test_the_second_choice_is_explained(balancer, scheduler, figures, why):
    second = choices(balancer, scheduler, TWO, 2)[0][1]
    assert tuple(figure for _, figure in second.servers) == figures
    assert second.why.startswith(why)
    assert second.chosen


def test_equals_are_counted(balancer):
    first = choices(balancer, "wlc", TWO, 1)[0][0]
    assert first.why == "the least overhead / weight, the first of 2 equals"


@pytest.mark.parametrize(
    ("servers", "connections", "why"),
    [
        ("", 1, "the service has none"),
        (DRAINED, 1, "every weight is 0"),
        (FULL, 3, "all have as many connections as their upper threshold allows"),
        (FULL.replace("-w 1", "-w 0"), 2,
         "each has weight 0, or as many connections as its upper threshold allows"),
    ],
)  # fmt: skip
def test_nobody_takes_a_connection(balancer, servers, connections, why):
    """The kernel says so in its log, too: asked of 6.1."""
    found, log = choices(balancer, "rr", servers, connections)
    assert (found[-1].chosen, found[-1].why) == ("", why)
    assert log == ["IPVS: rr: TCP 10.96.0.1:80 - no destination available"]


def test_a_hash_may_meet_a_drained_server(balancer):
    servers = TWO.replace("-w 3", "-w 0")
    found, _ = choices(balancer, "sh -b sh-port", servers, 20)
    texts = {choice.why.partition(", that of ")[2] for choice in found}
    assert texts == {
        "", "10.0.0.3:8080, which has weight 0; without sh-fallback nobody else is asked",
    }  # fmt: skip


def test_full_servers_of_ovf(balancer):
    found, _ = choices(balancer, "ovf", TWO, 7)
    assert found[-1].why == "each that takes connections has more active ones than its weight"
    assert [figure for _, figure in found[-1].servers] == [
        "4 active, weight 3, full",
        "2 active, weight 1, full",
    ]


def test_the_log_repeats_itself_ten_times_in_five_seconds(balancer):
    assert len(choices(balancer, "wrr", "", 20)[1]) == 10
