"""The scene `ipvs`: how its node is built and what its clients do, inside a kernel with IPVS.

tools/record_ipvs_scene.py boots that kernel, which runs this file in a directory with what netemu
renders for kube-proxy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from record_scenes import (  # noqa: E402 - found beside this file
    CLIENT,
    LEFT_OUT,
    PAGE,
    Scene,
    pod,
    record,
    uplink,
)
from scene_bench import Bench, Host, fetch  # noqa: E402 - found beside this file

from netemu.livekernel.runner import LogPhase  # noqa: E402 - found above this file

PARTS = ("complete", "ipset", "ipvsadm", "addresses")
"""Of `netemu kube render`."""

SYSCTLS = {
    "net.ipv4.vs.conntrack": "1",
    "net.ipv4.vs.conn_reuse_mode": "0",
    "net.ipv4.vs.expire_nodest_conn": "1",
    "net.ipv4.vs.expire_quiescent_template": "1",
}
"""What kube-proxy sets in ipvs mode."""


def record_it(out: Path) -> None:
    """Record, within the kernel that has IPVS."""
    parts = {part: Path(part).read_text() for part in PARTS}

    def build(bench: Bench) -> Callable[[], None]:
        bench.bridge("cni0", "0a:58:0a:f4:01:01", "10.244.1.1/24")
        client = uplink(bench)
        pods = [pod(bench, number) for number in (5, 6, 7)]
        bench.ip("link add kube-ipvs0 address 0a:58:00:00:01:01 type dummy")
        for address in parts["addresses"].split():
            bench.ip(f"addr add {address} dev kube-ipvs0")
        for key, value in SYSCTLS.items():
            bench.sysctl(key, value)
        bench.sets(parts["ipset"])
        bench.node.run(["ipvsadm", "-R"], parts["ipvsadm"])
        bench.rules(parts["complete"])
        for known in ("10.244.1.5", "10.244.1.6", CLIENT):
            Host(bench.node).ping(known, identifier=1)

        def traffic() -> None:
            for source_port in range(40001, 40005):
                assert fetch(client, "10.96.0.10", 80, source_port=source_port) == PAGE
            assert fetch(client, "192.0.2.1", 30080, source_port=40011) == PAGE
            for source_port in range(41001, 41004):
                assert fetch(pods[0], "10.96.0.10", 80, source_port=source_port) == PAGE
            pods[1].ping(CLIENT, identifier=7, count=2)

        return traffic

    def tables(bench: Bench) -> dict[str, str]:
        return {
            f"ipvsadm{option}": bench.node.run(["ipvsadm", option]) for option in ("-Ln", "-Lnc")
        }

    about = "the Service of `clusterip` in kube-proxy's ipvs mode: virtual servers, ipsets, rules"
    left_out = tuple(name for name in LEFT_OUT if name != "ipvsadm")
    scene = Scene(name="ipvs", about=about, build=build, also=tables, left_out=left_out)
    for folder in ("rulesets", "captures"):
        (out / folder).mkdir()
    with closing(LogPhase()):
        record(scene, out)


if __name__ == "__main__":
    record_it(Path(sys.argv[1]))
