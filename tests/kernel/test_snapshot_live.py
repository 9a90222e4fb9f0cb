"""Snapshots of live namespaces: taken by the tool and by the script, read back, compared.

Run as a program, it records tests/snapshot/scene and tests/snapshot/scene_text anew.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from netemu.errors import SnapshotError
from netemu.sim.spec import NamespaceSpec, NodeSpec
from netemu.snapshot.document import Document
from netemu.snapshot.items import ITEM, mangle
from netemu.snapshot.listing import table_text
from netemu.snapshot.names import peer_of
from netemu.snapshot.read import read_node
from netemu.snapshot.script import script
from netemu.snapshot.take import MANIFEST, save, take
from netemu.snapshot.write import write_node
from netemu.wire.address import parse_address, parse_mac

NODE, POD = "sk_t_node", "sk_t_pod"
MACS = {"br0": "02:00:00:00:0b:00", "pod1": "02:00:00:00:0b:01", "eth0": "02:00:00:00:0b:02"}

BUILD = f"""
netns add {NODE}
netns add {POD}
-n {NODE} link set lo up
-n {NODE} link add br0 address {MACS["br0"]} type bridge ageing_time 12000
-n {NODE} link add pod1 address {MACS["pod1"]} type veth peer name eth0 address {MACS["eth0"]} netns {POD}
-n {NODE} link add up0 address 02:00:00:00:0b:03 type veth peer name up0.5 address 02:00:00:00:0b:04
-n {NODE} link set pod1 master br0
-n {NODE} link set pod1 type bridge_slave hairpin on
-n {NODE} addr add 10.1.0.1/24 brd + dev br0
-n {NODE} addr add 10.1.0.9/24 dev br0
-n {NODE} addr add 198.51.100.2 peer 198.51.100.3 dev up0
-n {NODE} addr add 203.0.113.2/28 brd + scope link dev up0
-n {NODE} -6 addr add fd00:1::1/64 nodad dev br0
-n {NODE} link set br0 up
-n {NODE} link set pod1 up
-n {NODE} link set up0 up
-n {NODE} link add down0 address 02:00:00:00:0b:05 type veth peer name down1
-n {POD} link set eth0 up
-n {POD} addr add 10.1.0.7/24 brd + dev eth0
-n {POD} route add default via 10.1.0.1
-n {NODE} route add default via 203.0.113.14 metric 20 mtu 1400
-n {NODE} route add 10.77.0.0/16 nexthop via 10.1.0.3 weight 2 nexthop via 203.0.113.5 dev up0 onlink
-n {NODE} route add blackhole 10.66.0.0/16
-n {NODE} route add 10.55.0.0/16 via inet6 fe80::9 dev br0
-n {NODE} route add 192.0.2.0/24 via 10.1.0.8 tos 0x10 table 100 src 10.1.0.9
-n {NODE} rule add fwmark 0x10/0xf0 table 100 pref 1000
-n {NODE} rule add from 10.3.0.0/16 iif br0 ipproto tcp dport 80-90 prohibit pref 1001
-n {NODE} rule add not to 10.4.0.0/16 goto 32766 pref 1002
-n {NODE} rule add sport 53 ipproto udp tos 0x10 oif br0 unreachable pref 1003
-n {NODE} rule add table main suppress_prefixlength 0 pref 900
-n {NODE} neigh add 10.1.0.3 lladdr 02:00:00:00:00:33 dev br0
-n {NODE} neigh add 10.1.0.8 lladdr 02:00:00:00:00:38 nud stale dev br0
-n {NODE} neigh add 10.1.0.99 nud failed dev br0
"""

TEXT_COMMANDS = (
    "ip -o addr",
    "ip -d address",
    "ip -s -d link",
    "ip route show table all",
    "ip -4 rule",
    "ip -s -s neigh show",
    "bridge -s -s -d -t fdb show",
)
"""What a sosreport holds of a namespace."""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def in_node(*command: str) -> str:
    whole = ["ip", "netns", "exec", NODE, *command]
    return subprocess.run(whole, check=True, capture_output=True, text=True).stdout


def build() -> None:
    for line in BUILD.strip().splitlines():
        ip(*line.split())
    subprocess.run(
        [
            "bridge",
            "-n",
            NODE,
            "fdb",
            "add",
            "02:00:00:00:00:44",
            "dev",
            "pod1",
            "master",
            "static",
        ],
        check=True,
    )
    in_node("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.up0/5.rp_filter=2")


def tear_down() -> None:
    for name in (NODE, POD):
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@pytest.fixture
def node() -> Iterator[None]:
    """Build the namespaces anew."""
    tear_down()
    build()
    yield
    tear_down()


def taken(folder: Path) -> NodeSpec:
    """Return what a snapshot of the machine says of our two namespaces."""
    save(take(all_netns=True), folder)
    own = folder.parent / "own"
    shutil.copytree(folder / "netns" / NODE, own)
    shutil.copytree(folder / "netns" / POD, own / "netns" / POD)
    return read_node(str(own))


def test_a_snapshot_says_what_was_built(node: None, tmp_path: Path) -> None:
    spec = taken(tmp_path / "snap")
    main = spec.main
    links = {link.name: link for link in main.links}
    assert {"lo", "br0", "pod1", "up0", "up0.5", "down0", "down1"} == set(links)
    assert links["br0"].kind == "bridge" and links["br0"].bridge["ageing_time"] == 12000
    assert links["pod1"].master == "br0"
    assert tuple(links["pod1"].port[name] for name in ("state", "hairpin", "isolated")) == (3, 1, 0)
    assert links["up0"].peer_ifindex == links["up0.5"].ifindex
    assert links["up0"].peer_netnsid is None
    assert parse_mac(MACS["pod1"]) == links["pod1"].mac
    assert f"{POD}/eth0" == peer_of(spec.namespaces(), main, links["pod1"])
    assert peer_of(spec.namespaces(), spec.others[0], spec.others[0].links[1]) == "pod1"
    assert links["up0"].up and not links["up0"].carrier
    assert not links["down0"].up
    by_text = {address.address: address for address in main.addresses}
    assert by_text[parse_address("10.1.0.9")].secondary
    assert by_text[parse_address("198.51.100.2")].peer == parse_address("198.51.100.3")
    assert by_text[parse_address("203.0.113.2")].scope == "link"
    assert by_text[parse_address("203.0.113.2")].broadcast == parse_address("203.0.113.15")
    assert main.sysctls["net.ipv4.ip_forward"] == "1"
    assert main.sysctls["net.ipv4.conf.up0/5.rp_filter"] == "2"
    assert main.policy_rules is not None
    assert [rule.priority for rule in main.policy_rules] == [
        0,
        900,
        1000,
        1001,
        1002,
        1003,
        32766,
        32767,
    ]
    assert {"PERMANENT", "STALE", "FAILED"} == {entry.state for entry in main.neighbours}
    assert (parse_mac("02:00:00:00:00:44"), "static") in {(e.mac, e.state) for e in main.fdb}


def test_what_is_written_again_is_the_same_node(node: None, tmp_path: Path) -> None:
    first = taken(tmp_path / "snap")
    write_node(first, tmp_path / "again")
    second = read_node(str(tmp_path / "again"))
    for before, after in zip(first.namespaces(), second.namespaces(), strict=True):
        for field in ("links", "addresses", "routes", "policy_rules", "neighbours", "fdb"):
            assert getattr(before, field) == getattr(after, field)
        assert (before.sysctls, before.sockets) == (after.sysctls, after.sockets)
        assert before.netns_ids == after.netns_ids


def comparable(space: NamespaceSpec) -> NamespaceSpec:
    """Return what both forms of the tools' output can say."""
    links = [
        replace(
            link,
            peer_netnsid=None if link.peer_netnsid is None else 0,
            bridge={k: v for k, v in link.bridge.items() if k in {"ageing_time", "stp_state"}},
            port={k: v for k, v in link.port.items() if k in {"state", "hairpin", "isolated"}},
        )
        for link in space.links
    ]
    return NamespaceSpec(
        links=links,
        addresses=space.addresses,
        # Text prints the IPv6 routes' expiry and the like, netemu reads neither.
        routes=space.routes,
        policy_rules=space.policy_rules,
        neighbours=sorted(space.neighbours, key=lambda entry: entry.address),
        fdb=sorted(space.fdb, key=lambda entry: (entry.mac, entry.vlan)),
    )


def write_text_form(folder: Path) -> None:
    home = folder / "sos_commands" / "networking"
    home.mkdir(parents=True)
    for command in TEXT_COMMANDS:
        (home / mangle(command)).write_text(in_node(*command.split()))


def test_text_forms_say_the_same_as_json(node: None, tmp_path: Path) -> None:
    json = taken(tmp_path / "snap").main
    write_text_form(tmp_path / "text")
    text = read_node(str(tmp_path / "text")).main
    for field in ("links", "addresses", "routes", "policy_rules", "neighbours", "fdb"):
        assert getattr(comparable(json), field) == getattr(comparable(text), field), field


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_the_script_writes_the_same_files(node: None, tmp_path: Path, shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell} here")
    (tmp_path / "snapshot.sh").write_text(script())
    applet = ["sh"] if shell == "busybox" else []
    subprocess.run(
        [program, *applet, "snapshot.sh", "--all-netns", "-o", "by_script"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    save(take(all_netns=True), tmp_path / "by_tool")
    ours = (NODE, POD)
    names = {
        way: {
            str(path.relative_to(tmp_path / way))
            for part in ("", *(f"netns/{name}" for name in ours))
            for path in (tmp_path / way / part).iterdir()
            if path.is_file()
        }
        for way in ("by_script", "by_tool")
    }
    assert names["by_tool"] == names["by_script"]
    for name in ours:
        for key in ("rule", "save4", "sockets"):  # the others hold timers and IPv6 states
            parts = (tmp_path / way / "netns" / name / ITEM[key].name for way in names)
            one, other = (part.read_text() for part in parts)
            assert one == other


def test_the_script_refuses_a_directory_in_use(tmp_path: Path) -> None:
    (tmp_path / "snap").mkdir()
    (tmp_path / "snap" / "mine").write_text("")
    done = subprocess.run(
        ["sh", "-s", "--", "-o", "snap"],
        input=script(),
        text=True,
        cwd=tmp_path,
        check=False,
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (
        3,
        "snap: exists already; a new or empty directory is needed\n",
    )


def test_both_backends_holding_rules_are_refused(node: None, tmp_path: Path) -> None:
    in_node("iptables-legacy", "-A", "FORWARD", "-j", "ACCEPT")
    in_node("iptables-nft", "-A", "FORWARD", "-j", "DROP")
    with pytest.raises(SnapshotError, match="--backend legacy or --backend nft"):
        taken(tmp_path / "snap")
    own = str(tmp_path / "own")
    legacy, nft = (read_node(own, backend=backend) for backend in ("legacy", "nft"))
    assert legacy.main.rules4 is not None and "-A FORWARD -j ACCEPT" in legacy.main.rules4.text
    assert nft.main.rules4 is not None and "-A FORWARD -j DROP" in nft.main.rules4.text


@pytest.mark.parametrize("backend", ["legacy", "nft"])
def test_one_backend_is_found_out(node: None, tmp_path: Path, backend: str) -> None:
    in_node(f"iptables-{backend}", "-A", "FORWARD", "-j", "ACCEPT")
    spec = taken(tmp_path / "snap")
    assert backend == spec.main.backend
    assert spec.main.rules4 is not None and "-A FORWARD -j ACCEPT" in spec.main.rules4.text


def test_native_nft_tables_that_act_are_refused(node: None, tmp_path: Path) -> None:
    in_node("nft", "add table inet mine")
    in_node("nft", "add chain inet mine in { type filter hook input priority 0; policy accept; }")
    assert taken(tmp_path / "idle" / "snap").main.backend == "legacy"
    in_node("nft", "add rule inet mine in tcp dport 22 counter drop")
    with pytest.raises(SnapshotError, match=r"native nftables tables act .*inet mine"):
        taken(tmp_path / "acting" / "snap")


def test_a_namespace_that_only_a_process_holds(node: None, tmp_path: Path) -> None:
    """A container: no name for iproute2, found by its process, wired by its veth pair."""
    process = subprocess.Popen(["unshare", "-n", "sleep", "60"], stdout=subprocess.DEVNULL)
    try:
        own = Path("/proc/self/ns/net").stat()
        while Path(f"/proc/{process.pid}/ns/net").stat() == own:
            pass
        ip("-n", NODE, "link", "add", "ctr1", "type", "veth", "peer", "name", "eth0",
           "netns", str(process.pid))  # fmt: skip
        save(take(all_netns=True), tmp_path / "snap")
        spec = read_node(str(tmp_path / "snap"))
    finally:
        process.kill()
        process.wait()
    space = next(space for space in spec.others if space.name == NODE)
    end = next(link for link in space.links if link.name == "ctr1")
    assert f"pid-{process.pid}/eth0" == peer_of(spec.namespaces(), space, end)


LISTED = """*mangle
-A PREROUTING -j MARK --set-xmark 0x4000/0x0
-A PREROUTING -j CONNMARK --restore-mark --nfmask 0xf0 --ctmask 0xff
-A PREROUTING -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xf0
COMMIT
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80
COMMIT
*filter
-A INPUT -m comment --comment "the first" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 --tcp-flags FIN,SYN,RST,ACK SYN -m recent --set --name s --mask 255.255.255.255 --rsource
-A INPUT -p icmp -m icmp --icmp-type 8 -m limit --limit 3/min -j ACCEPT
-A INPUT -m statistic --mode random --probability 0.33333333349 -j LOG --log-prefix "a b " --log-level 7
-A INPUT -j REJECT --reject-with icmp-port-unreachable
COMMIT
"""


@pytest.mark.parametrize("backend", ["legacy", "nft"])
def test_listings_say_what_was_loaded(node: None, backend: str) -> None:
    """A table rebuilt from its listing loads, and is saved as the first was."""
    restore = ["ip", "netns", "exec", NODE, f"iptables-{backend}-restore", "-c"]
    subprocess.run(restore, input=LISTED, text=True, check=True)
    for table in ("mangle", "nat", "filter"):
        save_table = (f"iptables-{backend}-save", "-t", table)
        before = in_node(*save_table)
        listing = in_node(f"iptables-{backend}", "-t", table, "-nvL")
        text = table_text(Document(name=table, text=listing, command="iptables -nvL"), table)
        subprocess.run(restore, input=text, text=True, check=True)
        kept = [
            [line for line in saved.splitlines() if not line.startswith("#")]
            for saved in (before, in_node(*save_table))
        ]
        assert kept[0] == kept[1]


def test_every_command_is_in_the_manifest(node: None, tmp_path: Path) -> None:
    save(take(all_netns=False), tmp_path / "snap")
    lines = (tmp_path / "snap" / MANIFEST).read_text().splitlines()
    assert [item.command for item in ITEM.values() if item.collect] == [
        line.split("\t")[2] for line in lines
    ]


def record(scene: Path, text: Path) -> None:
    """Write the scenes that the unit tests read."""
    tear_down()
    build()
    shutil.rmtree(scene, ignore_errors=True)
    shutil.rmtree(text, ignore_errors=True)
    work = scene.parent / "recording"
    save(take(all_netns=True), work)
    shutil.copytree(work / "netns" / NODE, scene)
    shutil.copytree(work / "netns" / POD, scene / "netns" / POD)
    shutil.rmtree(work)
    for path in scene.rglob("sysctl_-a"):
        kept = [line for line in path.open() if ".up0" in line or "ip_forward" in line]
        path.write_text("".join(line for line in kept if "ipv4" in line))
    write_text_form(text)
    tear_down()


if __name__ == "__main__":
    home = Path(__file__).parent.parent / "snapshot"
    record(home / "scene", home / "scene_text")
    sys.stdout.write("recorded\n")
