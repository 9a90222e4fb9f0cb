"""Draws the rules and sets of a random node with IPVS: what kube-proxy writes, and others."""

from __future__ import annotations

from random import Random
from typing import Any

Service = dict[str, Any]

KINDS = ("none", "masquerade", "kube", "sets", "state", "ipvs", "notrack", "nodeport")

TABLES = {
    "raw": "PREROUTING OUTPUT",
    "mangle": "PREROUTING INPUT FORWARD OUTPUT POSTROUTING",
    "nat": "PREROUTING INPUT OUTPUT POSTROUTING",
    "filter": "INPUT FORWARD OUTPUT",
}

MARK_MASQ = (
    ":KUBE-SERVICES - [0:0]", ":KUBE-MARK-MASQ - [0:0]", ":KUBE-POSTROUTING - [0:0]",
    "-A PREROUTING -j KUBE-SERVICES", "-A OUTPUT -j KUBE-SERVICES",
    "-A POSTROUTING -j KUBE-POSTROUTING",
    "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
)  # fmt: skip

UNMARK = (
    "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
    "-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0",
    "-A KUBE-POSTROUTING -j MASQUERADE",
)

FIXED: dict[str, dict[str, tuple[str, ...]]] = {
    "none": {},
    "masquerade": {"nat": ("-A POSTROUTING -d 10.244.0.0/24 -j MASQUERADE",)},
    "state": {
        "filter": (
            "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A FORWARD -m conntrack --ctstate INVALID",
            "-A OUTPUT -m conntrack --ctstate NEW", "-A INPUT -m conntrack --ctstate NEW",
        ),
    },
    "ipvs": {
        "nat": (
            "-A POSTROUTING -m ipvs --vaddr 10.96.0.0/28 --vdir ORIGINAL -j MASQUERADE",
            "-A POSTROUTING -m ipvs --ipvs",
        ),
        "filter": (
            *(f"-A FORWARD -m ipvs {test}"
              for test in ("--ipvs", "! --ipvs", "--vproto tcp", "--vmethod MASQ",
                           "! --vport 80 --vdir REPLY")),
            *(f"-A OUTPUT -m ipvs {test}"
              for test in ("--ipvs", "! --ipvs", "--vproto tcp", "! --vmethod MASQ",
                           "--vport 80 --vdir ORIGINAL", "--vportctl 21")),
        ),
    },
    "notrack": {
        "raw": ("-A PREROUTING -d 10.96.0.10/32 -j CT --notrack",),
        "nat": ("-A POSTROUTING -j MASQUERADE",),
    },
    "nodeport": {
        "nat": ("-A PREROUTING -d 192.168.50.1/32 -p tcp -m tcp --dport 30080 -j REDIRECT "
                "--to-ports 80",
                "-A OUTPUT -d 10.96.0.14/32 -p tcp -j DNAT --to-destination 10.96.0.10:80",
                "-A POSTROUTING -s 192.168.50.0/24 -o cni0 -j SNAT --to-source 10.244.0.1"),
        "filter": ("-A INPUT -m conntrack --ctstate DNAT", "-A OUTPUT -m conntrack --ctstate DNAT",
                   "-A FORWARD -m conntrack --ctstate SNAT"),
    },
}  # fmt: skip


def _kube(dice: Random) -> dict[str, tuple[str, ...]]:
    cluster = f"10.96.0.0/{dice.choice((24, 28))}"
    nat = (
        *MARK_MASQ,
        f"-A KUBE-SERVICES ! -s 10.244.0.0/24 -d {cluster} -j KUBE-MARK-MASQ",
        "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j ACCEPT",
        *UNMARK,
    )
    return {"nat": nat}


def _sets(dice: Random, services: list[Service]) -> tuple[dict[str, tuple[str, ...]], str]:
    """Return rules as kube-proxy's ipvs mode has them, and their sets."""
    text = (
        "create KUBE-CLUSTER-IP hash:ip,port family inet hashsize 1024 maxelem 65536\n"
        "create KUBE-LOOP-BACK hash:ip,port,ip family inet hashsize 1024 maxelem 65536\n"
        "create KUBE-IPVS-IPS hash:ip family inet hashsize 1024 maxelem 65536\n"
    )
    elements: dict[str, None] = {}
    for service in services:
        protocol, address = service["protocol"], service["address"]
        if service["port"] and dice.random() < 0.8:
            elements[f"add KUBE-CLUSTER-IP {address},{protocol}:{service['port']}"] = None
        elements[f"add KUBE-IPVS-IPS {address}"] = None
        for server in service["servers"]:
            end = f"{server['address']},{protocol}:{server['port'] or service['port'] or 80}"
            elements[f"add KUBE-LOOP-BACK {end},{server['address']}"] = None
    text += "".join(f"{element}\n" for element in elements)
    masq = dice.choice(("! -s 10.244.0.0/24 ", ""))
    nat = (
        *MARK_MASQ,
        f"-A KUBE-SERVICES {masq}-m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ",
        "-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT",
        "-A KUBE-POSTROUTING -m set --match-set KUBE-LOOP-BACK dst,dst,src -j MASQUERADE",
        *UNMARK,
    )
    rules = (
        "-A FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT",
        "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A INPUT -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT",
        "-A INPUT -m conntrack --ctstate NEW -m set --match-set KUBE-IPVS-IPS dst -j REJECT",
    )
    return {"nat": nat, "filter": rules}, text


def _marks(services: list[Service]) -> tuple[str, ...]:
    """Return the rules that mark packets for services of firewall marks."""
    rules = [
        f"-A PREROUTING -d {service['address']}/32 {service['marked']}"
        f"-j MARK --set-mark {service['mark']}"
        for service in services
        if service["mark"]
    ]
    return (*rules, *(rule.replace("PREROUTING", "OUTPUT") for rule in rules))


def draw_rules(dice: Random, case: dict[str, Any], services: list[Service]) -> None:
    """Give a case what a node's rules do around IPVS."""
    kind = dice.choice(KINDS)
    if kind == "sets":
        drawn, case["ipset"] = _sets(dice, services)
    else:
        drawn = _kube(dice) if kind == "kube" else FIXED[kind]
    rules = {table: list(drawn.get(table, ())) for table in TABLES}
    rules["mangle"] += _marks(services)
    if dice.random() < 0.3:
        case["trace"] = True
        rules["raw"] += ["-A PREROUTING -j TRACE", "-A OUTPUT -j TRACE"]
    text = ""
    for table, lines in rules.items():
        chains = TABLES[table].split()
        text += f"*{table}\n" + "".join(f":{chain} ACCEPT [0:0]\n" for chain in chains)
        text += "".join(f"{line}\n" for line in lines) + "COMMIT\n"
    case["iptables"] = text
