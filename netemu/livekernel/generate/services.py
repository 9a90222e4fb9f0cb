"""Rules with a purpose: what kube-proxy, docker and a host firewall set up, in random sizes.

The shapes are those of the real programs; names, addresses and ports are drawn. Chance is left
out (`statistic --mode nth` stands for `random`), so that two runs choose alike.
"""

from __future__ import annotations

from netemu.livekernel.generate.dice import Dice
from netemu.livekernel.generate.world import SERVICE_PORTS, VIPS, World
from netemu.wire.address import format_address

HEADS = {
    "raw": ":PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n",
    "nat": ":PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
    ":POSTROUTING ACCEPT [0:0]\n",
    "filter": ":INPUT {input} [0:0]\n:FORWARD {forward} [0:0]\n:OUTPUT ACCEPT [0:0]\n",
}


def service_rules(dice: Dice, world: World) -> str:
    """Return a whole ruleset."""
    nat, filters = _Table(), _Table()
    if dice.chance(75):
        _kube_proxy(dice, world, nat, filters)
    if dice.chance(40):
        _docker(dice, world, nat, filters)
    _firewall(dice, world, filters)
    policies = {
        "input": dice.pick(("ACCEPT", "DROP")),
        "forward": dice.weighted([(3, "ACCEPT"), (1, "DROP")]),
    }
    parts = [
        "*raw\n" + HEADS["raw"] + "-A PREROUTING -j TRACE\n-A OUTPUT -j TRACE\nCOMMIT\n",
        "*nat\n" + HEADS["nat"] + nat.text() + "COMMIT\n",
        "*filter\n" + HEADS["filter"].format(**policies) + filters.text() + "COMMIT\n",
    ]
    return "".join(parts)


class _Table:
    """User chains and rules of a table."""

    def __init__(self) -> None:
        self.chains: list[str] = []
        self.rules: list[str] = []

    def chain(self, name: str) -> str:
        if name not in self.chains:
            self.chains.append(name)
        return name

    def add(self, chain: str, rule: str) -> None:
        self.rules.append(f"-A {chain} {rule}")

    def text(self) -> str:
        chains = "".join(f":{name} - [0:0]\n" for name in self.chains)
        return chains + "".join(f"{rule}\n" for rule in self.rules)


def _kube_proxy(dice: Dice, world: World, nat: _Table, filters: _Table) -> None:
    for name in ("KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"):
        nat.chain(name)
    comment = '-m comment --comment "kubernetes service portals"'
    nat.add("PREROUTING", f"{comment} -j KUBE-SERVICES")
    nat.add("OUTPUT", f"{comment} -j KUBE-SERVICES")
    nat.add("POSTROUTING", "-j KUBE-POSTROUTING")
    nat.add("KUBE-MARK-MASQ", "-j MARK --set-xmark 0x4000/0x4000")
    nat.add("KUBE-POSTROUTING", "-m mark ! --mark 0x4000/0x4000 -j RETURN")
    nat.add("KUBE-POSTROUTING", "-j MARK --set-xmark 0x4000/0x0")
    fully = " --random-fully" * dice.chance(20)
    nat.add("KUBE-POSTROUTING", f"-j MASQUERADE{fully}")
    for number in range(dice.between(1, 3)):
        _service(dice, world, nat, filters, number)
    nat.add(
        "KUBE-SERVICES",
        '-m comment --comment "kubernetes service nodeports; last" '
        "-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",
    )
    filters.chain("KUBE-FORWARD")
    filters.add("FORWARD", "-j KUBE-FORWARD")
    if dice.chance(70):
        filters.add("KUBE-FORWARD", "-m conntrack --ctstate INVALID -j DROP")
    filters.add("KUBE-FORWARD", "-m mark --mark 0x4000/0x4000 -j ACCEPT")
    filters.add("KUBE-FORWARD", "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")


def _service(dice: Dice, world: World, nat: _Table, filters: _Table, number: int) -> None:
    vip, protocol = format_address(VIPS[number]), dice.pick(("tcp", "udp"))
    port = dice.pick(SERVICE_PORTS)
    match = f"-d {vip}/32 -p {protocol} -m {protocol} --dport {port}"
    service = f"KUBE-SVC-{number}"
    endpoints = [*(host.address for host in world.hosts), *world.pods * 3]
    chosen = [dice.pick(endpoints) for _ in range(dice.between(0, 3))]
    if not chosen:
        filters.chain("KUBE-SERVICES")
        if "-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES" not in filters.rules:
            for chain in ("FORWARD", "OUTPUT"):
                filters.add(chain, "-m conntrack --ctstate NEW -j KUBE-SERVICES")
        filters.add("KUBE-SERVICES", f"{match} -j REJECT --reject-with icmp-port-unreachable")
        return
    nat.chain(service)
    nat.add("KUBE-SERVICES", f"{match} -j {service}")
    if dice.chance(50):
        nat.add(service, "! -s 10.244.0.0/16 -j KUBE-MARK-MASQ")
    if dice.chance(40):
        external = nat.chain(f"KUBE-EXT-{number}")
        rule = f"-p {protocol} -m {protocol} --dport 30080 -j {external}"
        nat.add("KUBE-NODEPORTS", rule)
        nat.add(external, "-j KUBE-MARK-MASQ")
        nat.add(external, f"-j {service}")
    affinity = dice.chance(20)
    names = [f"KUBE-SEP-{number}-{place}" for place in range(len(chosen))]
    if affinity:
        for name in names:
            recent = f"-m recent --rcheck --seconds 10800 --reap --name {name} --rsource"
            nat.add(service, f"{recent} -j {name}")
    for place, (name, endpoint) in enumerate(zip(names, chosen, strict=True)):
        nat.chain(name)
        left = len(chosen) - place
        chance = f"-m statistic --mode nth --every {left} --packet 0 " if left > 1 else ""
        nat.add(service, f"{chance}-j {name}")
        address = format_address(endpoint)
        nat.add(name, f"-s {address}/32 -j KUBE-MARK-MASQ")
        target = dice.weighted([(4, dice.pick(SERVICE_PORTS)), (1, port)])
        recent = f"-m recent --set --name {name} --rsource " if affinity else ""
        matched = f"-p {protocol} {recent}-m {protocol}"
        nat.add(name, f"{matched} -j DNAT --to-destination {address}:{target}")


def _docker(dice: Dice, world: World, nat: _Table, filters: _Table) -> None:
    bridges = [link.name for link in world.main.links if link.kind == "bridge"]
    bridge = bridges[0] if bridges else "docker0"
    nat.chain("DOCKER")
    nat.add("PREROUTING", "-m addrtype --dst-type LOCAL -j DOCKER")
    nat.add("OUTPUT", "! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER")
    nat.add("POSTROUTING", f"-s 10.244.0.0/16 ! -o {bridge} -j MASQUERADE")
    if dice.chance(60):
        nat.add("DOCKER", f"-i {bridge} -j RETURN")
    for name in ("DOCKER", "DOCKER-USER", "DOCKER-ISOLATION-STAGE-1"):
        filters.chain(name)
    filters.add("FORWARD", "-j DOCKER-USER")
    filters.add("FORWARD", "-j DOCKER-ISOLATION-STAGE-1")
    filters.add("FORWARD", f"-o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
    filters.add("FORWARD", f"-o {bridge} -j DOCKER")
    filters.add("FORWARD", f"-i {bridge} ! -o {bridge} -j ACCEPT")
    filters.add("FORWARD", f"-i {bridge} -o {bridge} -j ACCEPT")
    for chain in ("DOCKER-USER", "DOCKER-ISOLATION-STAGE-1"):
        filters.add(chain, "-j RETURN")
    for _ in range(dice.between(1, 2)):
        endpoint = dice.pick([*world.pods, *(host.address for host in world.hosts)])
        address, port = format_address(endpoint), dice.pick(SERVICE_PORTS)
        published, protocol = dice.pick(SERVICE_PORTS), dice.pick(("tcp", "udp"))
        match = f"-p {protocol} -m {protocol}"
        nat.add(
            "POSTROUTING", f"-s {address}/32 -d {address}/32 {match} --dport {port} -j MASQUERADE"
        )
        inward = "" if dice.chance(30) else f"! -i {bridge} "
        nat.add(
            "DOCKER",
            f"{inward}{match} --dport {published} -j DNAT --to-destination {address}:{port}",
        )
        filters.add(
            "DOCKER",
            f"-d {address}/32 ! -i {bridge} -o {bridge} {match} --dport {port} -j ACCEPT",
        )


def _firewall(dice: Dice, world: World, filters: _Table) -> None:
    input_rules = [
        "-i lo -j ACCEPT",
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-m conntrack --ctstate INVALID -j DROP",
        "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j DROP",
        "-p icmp -m icmp --icmp-type 8 -m limit --limit 1/hour --limit-burst 3 -j ACCEPT",
        "-p tcp -m multiport --dports 80,443 -m conntrack --ctstate NEW -j ACCEPT",
        "-p tcp -m tcp --dport 8080 -m recent --set --name KNOCK --rsource",
        "-p udp -m udp --dport 53 -m recent --update --seconds 60 --hitcount 2 --name DNS -j DROP",
        '-m limit --limit 5/minute --limit-burst 4 -j LOG --log-prefix "IN drop: "',
        "-p tcp -j REJECT --reject-with tcp-reset",
        "-j REJECT --reject-with icmp-host-prohibited",
    ]
    for rule in dice.some(input_rules, 45):
        filters.add("INPUT", rule)
    forward_rules = [
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-m conntrack --ctstate DNAT -j ACCEPT",
        "-m physdev --physdev-is-bridged -j ACCEPT",
        '-m limit --limit 5/minute --limit-burst 4 -j LOG --log-prefix "FWD: " --log-ip-options',
        "-p tcp -j REJECT --reject-with tcp-reset",
        "-j REJECT --reject-with icmp-admin-prohibited",
    ]
    for rule in dice.some(forward_rules, 30):
        filters.add("FORWARD", rule)
