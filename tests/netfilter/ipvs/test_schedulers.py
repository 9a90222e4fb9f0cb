"""Schedulers against worked examples; the kernel is asked about all of them in tests/kernel."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from netemu.netfilter.ipvs.scheduler import Call
from netemu.netfilter.ipvs.schedulers import BY_NAME, SCHEDULERS
from netemu.netfilter.ipvs.schedulers.mh import HASH_1, ip_vs_mh_hashkey
from netemu.netfilter.ipvs.schedulers.sh import ip_vs_sh_hashkey
from netemu.netfilter.ipvs.schedulers.twos import ip_vs_twos_schedule
from netemu.netfilter.ipvs.table import Ipvs


def rules(scheduler: str, weights: dict[str, int], more: str = "") -> str:
    """Return a service whose servers are listed in the order of `weights`: newest first."""
    lines = [f"-A -t 10.96.0.1:80 -s {scheduler}{more}"]
    lines += [
        f"-a -t 10.96.0.1:80 -r 10.0.0.{name}:8080 -m -w {weight}"
        for name, weight in reversed(weights.items())
    ]
    return "\n".join(lines)


def test_every_file_is_registered(root):
    folder = root / "netemu" / "netfilter" / "ipvs" / "schedulers"
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert files == set(BY_NAME)
    assert len(SCHEDULERS) == len(BY_NAME)


@pytest.mark.parametrize("scheduler", sorted(BY_NAME))
def test_declarations_name_their_kernel_file(scheduler):
    assert BY_NAME[scheduler].kernel == f"ip_vs_{scheduler}.c"
    assert BY_NAME[scheduler].duty.endswith(".")


def test_rr_takes_turns_from_the_newest_on(balancer):
    assert balancer(rules("rr", {"4": 1, "3": 1, "2": 1})).servers(5) == ["4", "3", "2", "4", "3"]


def test_rr_skips_weight_0_and_survives_a_removal(balancer):
    node = balancer(rules("rr", {"4": 1, "3": 0, "2": 1}))
    assert node.servers(2) == ["4", "2"]
    node.do("-d -t 10.96.0.1:80 -r 10.0.0.2:8080")
    node.do("-a -t 10.96.0.1:80 -r 10.0.0.5:8080 -m")
    assert node.servers(3, 41000) == ["5", "4", "5"]


def test_wrr_as_the_lvs_howto_works_it_out(balancer):
    """Servers A, B, C with weights 4, 3, 2 take AABABCABC (Job scheduling algorithms in LVS).

    The bar begins where the first server that was added left it, at the last three.
    """
    names = {"2": "A", "3": "B", "4": "C"}
    found = balancer(rules("wrr", {"2": 4, "3": 3, "4": 2})).servers(12)
    assert "".join(names[one] for one in found) == "ABC" + "AABABCABC"


def test_wlc_weighs_connections_by_weight(balancer):
    found = balancer(rules("wlc", {"2": 3, "3": 1})).servers(8)
    assert found.count("2") == 6


def test_lc_ignores_weights(balancer):
    assert balancer(rules("lc", {"2": 9, "3": 1})).servers(4) == ["2", "3", "2", "3"]


def test_sed_waits_for_the_shorter_delay(balancer):
    assert balancer(rules("sed", {"2": 3, "3": 1})).servers(4) == ["2", "2", "2", "3"]


def test_nq_takes_the_idle_one_first(balancer):
    assert balancer(rules("nq", {"2": 3, "3": 1})).servers(4) == ["2", "3", "2", "2"]


def test_fo_takes_the_heaviest(balancer):
    assert balancer(rules("fo", {"2": 1, "3": 5})).servers(2) == ["3", "3"]


def test_ovf_overflows_behind_the_weight(balancer):
    assert balancer(rules("ovf", {"2": 1, "3": 2})).servers(5) == ["3", "3", "3", "2", "2"]


def test_lblc_keeps_the_server_of_an_address(balancer):
    assert set(balancer(rules("lblc", {"2": 9, "3": 9})).servers(4)) == {"2"}


def test_hash_of_sh_is_multiplicative():
    """hash_32(0x0a000001, 8): the upper octet of 0x0a000001 * 0x61c88647."""
    assert ip_vs_sh_hashkey(bytes([10, 0, 0, 1]), 0, 0) == (0x0A000001 * 0x61C88647 >> 24) & 255


def test_hash_of_mh_is_siphash_1_3():
    """A different key or message gives a different 32-bit word, the same the same."""
    one = ip_vs_mh_hashkey(bytes([10, 0, 0, 1]), 80, HASH_1)
    assert one == ip_vs_mh_hashkey(bytes([10, 0, 0, 2]), 79, HASH_1) < 1 << 32
    assert one != ip_vs_mh_hashkey(bytes([10, 0, 0, 1]), 81, HASH_1)


def test_a_drained_server_of_sh_refuses_its_clients(balancer):
    node = balancer(rules("sh", {"2": 1}))
    assert node.servers(1) == ["2"]
    node.do("-e -t 10.96.0.1:80 -r 10.0.0.2:8080 -m -w 0")
    assert node.send("tcp 192.0.2.2:41000 > 10.96.0.1:80 S") == []


class Draws:
    """Plays the numbers that `prandom_u32_max(total)` is to return."""

    def __init__(self, total, *numbers):
        self.total, self.numbers = total, list(numbers)

    def stream(self, name):
        assert name == "ipvs twos"
        return self

    def u32(self):
        """Return the least 32-bit number that is scaled to the next one."""
        return -(-(self.numbers.pop(0) << 32) // self.total)


def twos(node, *numbers):
    """Return the last octet of the server for two numbers that are drawn."""
    service = node.net.generic(Ipvs).all_services()[0]
    total = sum(server.weight for server in service.destinations if not server.overload) + 1
    net = SimpleNamespace(entropy=Draws(total, *numbers))
    chosen = ip_vs_twos_schedule(Call(net, service, None, None))
    return str(chosen.address[-1]) if chosen is not None else None


def test_twos_subtracts_weights_from_what_it_drew(balancer):
    """Of weights 2, 0, 1, 3 it draws 0 to 6: 0 to 2 end at the first, 3 at the third."""
    node = balancer(rules("twos", {"2": 2, "9": 0, "3": 1, "4": 3}))
    assert [twos(node, n, n) for n in range(7)] == ["2", "2", "2", "3", "4", "4", "4"]


def test_twos_takes_the_less_loaded_of_two(balancer):
    """One active connection is 256: by weight that is 128 and 256; equal loads keep the first."""
    node = balancer(rules("twos", {"2": 2, "3": 1}))
    one, other = node.net.generic(Ipvs).all_services()[0].destinations
    assert [twos(node, 0, 3), twos(node, 3, 0)] == ["2", "3"]
    one.activeconns = other.activeconns = 1
    assert [twos(node, 0, 3), twos(node, 3, 0)] == ["2", "2"]
    one.inactconns = 257
    assert [twos(node, 0, 3), twos(node, 3, 0)] == ["3", "3"]


def test_twos_passes_over_overloaded_servers(balancer):
    node = balancer(rules("twos", {"2": 1, "3": 1}))
    servers = node.net.generic(Ipvs).all_services()[0].destinations
    servers[0].overload = True
    assert [twos(node, n, n) for n in range(2)] == ["3", "3"]
    servers[1].overload = True
    assert twos(node) is None


def test_twos_multiplies_in_32_bits(balancer):
    """65535 * 256 * 129 is above 2^31 and counts as negative, so the busier one seems idle."""
    node = balancer(rules("twos", {"2": 65535, "3": 65535}))
    one = node.net.generic(Ipvs).all_services()[0].destinations[0]
    one.activeconns = 127
    assert twos(node, 0, 65536) == "3"
    one.activeconns = 129
    assert twos(node, 0, 65536) == "2"


def test_twos_is_the_same_for_the_same_seed(balancer):
    text = rules("twos", {"2": 1, "3": 1, "4": 1})
    assert balancer(text).servers(9) == balancer(text).servers(9)
