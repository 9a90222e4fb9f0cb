"""`netemu kube check`: a node's saved rules against the Kubernetes objects they come from."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from netemu.cli.common import color_option, ipset_option, say_notes, wants_colour, write_output
from netemu.cli.kube_objects import ObjectSource
from netemu.cli.lint import FORMATS
from netemu.errors import InputError, UsageError

if TYPE_CHECKING:
    from netemu.kube.cluster import Cluster
    from netemu.lint.engine import Report
    from netemu.lint.subject import Subject
    from netemu.sim.spec import NodeSpec

CODES = ("NE3",)
RULES_ONLY = "rules only:"
"""Begins the note of a node whose devices and addresses are assumed."""


@click.command("check")
@click.argument("node", metavar="NODE")
@click.option(
    "--objects",
    "paths",
    metavar="FILE",
    multiple=True,
    help="What `kubectl get ... -A -o yaml` prints, or a folder of such files; repeatable.",
)
@click.option("--live", is_flag=True, help="Read a real cluster's objects by kubectl.")
@click.option("--kubectl", metavar="CMD", default="kubectl", help="How kubectl is called.")
@click.option("--context", metavar="NAME", default="", help="kubectl's context [its own].")
@click.option("--node", "node_name", metavar="NAME", default="", help="Whose it is [by address].")
@click.option(
    "--mode",
    type=click.Choice(["auto", "iptables", "ipvs", "userspace"]),
    default="auto",
    show_default=True,
    help="kube-proxy's mode; auto: as configured, else as the node shows.",
)
@click.option(
    "--proxy-version", "version", metavar="V", help="kube-proxy's version [by its rules]."
)
@click.option(
    "--output-format",
    type=click.Choice([*FORMATS]),
    help="How findings are told; full on a terminal, else concise.",
)
@ipset_option
@click.option("-6", "ipv6", is_flag=True, help="The rules of IPv6.")
@color_option
def command(
    *,
    node: str,
    paths: tuple[str, ...],
    live: bool,
    kubectl: str,
    context: str,
    node_name: str,
    mode: str,
    version: str | None,
    output_format: str | None,
    ipset: str | None,
    ipv6: bool,
    color: str,
) -> int:
    """Find what a saved node has otherwise than its Kubernetes objects ask for.

    NODE is a snapshot or iptables-save text. Every finding names its Service and has a packet that
    shows it: what no packet shows is not told. The exit code is 1 if there are findings.
    """
    from netemu.lint.engine import Report, look
    from netemu.lint.kube_objects import KubeObjects
    from netemu.lint.settings import LintSettings

    if not paths and not live:
        raise UsageError("--objects FILE is needed, or --live")
    cluster = ObjectSource(paths=paths, live=live, kubectl=kubectl, context=context).read()
    subject = _subject(node, cluster, node_name, ipset=ipset, ipv6=ipv6)
    if not subject.loads:
        raise subject.refusals[0]
    told = KubeObjects(cluster=cluster, node_name=node_name, mode=mode, version=version)
    subject.objects = told
    told.compare(subject)
    settings = LintSettings(select=CODES)
    report = Report(looked=[look(subject, settings)], settings=settings, directory=str(Path.cwd()))
    chosen = output_format or ("full" if sys.stdout.isatty() else "concise")
    text = _rendered(report, chosen, colour=wants_colour(color))
    write_output(None, text.encode("utf-8", "surrogateescape"))
    say_notes([*cluster.notes, *told.notes, *_lacks(subject)])
    return int(report.fails)


def _subject(
    path: str, cluster: Cluster, node_name: str, *, ipset: str | None, ipv6: bool
) -> Subject:
    """Read the node; one whose devices are not known gets the addresses that objects tell."""
    from netemu.lint.subject import Subject
    from netemu.netfilter.hook import Family
    from netemu.snapshot.read import is_tree, read_node

    as_family = None if is_tree(path) else 6 if ipv6 else 4
    spec = read_node(path, family=as_family, ipset=ipset)
    is_snapshot = not any(note.startswith(RULES_ONLY) for note in spec.notes)
    addresses: tuple[str, ...] = ()
    if not is_snapshot and not ipv6:
        addresses = _addresses(spec, cluster, node_name)
        spec = read_node(path, family=as_family, ipset=ipset, addresses=addresses)
    file = spec.main.rules6 if ipv6 else spec.main.rules4
    if file is None:
        command = "ip6tables-save -c" if ipv6 else "iptables-save -c"
        raise InputError(f"has no rules of this family; `{command}` prints them", file=path)
    subject = Subject(
        file.text,
        file.name,
        family=Family.IPV6 if ipv6 else Family.IPV4,
        backend=spec.main.backend,
        make_node=lambda _: spec,
        is_snapshot=is_snapshot,
    )
    words = [word for address in addresses for word in ("--addr", address)]
    subject.trace_words = (*words, *(("--ipset", ipset) if ipset is not None else ()))
    return subject


def _addresses(spec: NodeSpec, cluster: Cluster, node_name: str) -> tuple[str, ...]:
    """Return `DEV=IP/LEN` for what a rule file does not tell: the Node's, and kube-ipvs0's."""
    from netemu.kube.check.ipvs import read_servers
    from netemu.kube.proxy.ipvs import DUMMY_DEVICE
    from netemu.kube.proxy.settings import proxy_settings

    names = [node.metadata.name for node in cluster.nodes]
    name = node_name or cluster.proxy_config().hostname_override
    name = name or (names[0] if len(names) == 1 else "")
    ip = proxy_settings(cluster, name).node_ip if name else ""
    own = [f"eth0={ip}/24"] if ip else []
    if spec.main.ipvs is not None:
        virtual = dict.fromkeys(address for _, address, _ in read_servers(spec.main.ipvs))
        own += [f"{DUMMY_DEVICE}={address}/32" for address in virtual if address != ip]
    return tuple(own)


def _lacks(subject: Subject) -> list[str]:
    """Say what could not be compared, or not be shown."""
    assert subject.node is not None
    space, view = subject.node.main, subject.kube
    found: list[str] = []
    if view.rules.has("nat", "KUBE-NODE-PORT"):
        if space.ipvs is None:
            found.append("no ipvsadm_-Sn: virtual and real servers are not compared")
        if space.ipset is None:
            found.append("no ipset_save: sets are not compared, and no packet can be tried")
        if not subject.is_snapshot:
            found.append("no addresses of devices: those of kube-ipvs0 are not compared")
    if not view.walks:
        found.append("packets of IPv6 are not walked: findings have no witness")
    if view.unconfirmed:
        found.append(f"{view.unconfirmed} differences are not told: no packet showed them")
    return found


def _rendered(report: Report, chosen: str, *, colour: bool) -> str:
    """Return the report in a format."""
    module = importlib.import_module(f"netemu.lint.formats.{FORMATS[chosen]}")
    text: str = module.render(report, colour=colour) if chosen == "full" else module.render(report)
    return text
