"""`netemu kube trace`: a packet from a pod, a node or outside to a Service, in any mode."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from msgspec.structs import asdict

from netemu.cli.common import KERNELS, color_option, say_notes, wants_colour
from netemu.cli.kube_edge import CERTAIN, Asked, Journey, journey
from netemu.cli.kube_objects import ObjectSource, follow, object_source, watch_option
from netemu.cli.kube_walk import Walk
from netemu.errors import UsageError
from netemu.kube.proxy.render import MODES
from netemu.kube.service_ports import IPV4, IPV6, family_of, is_family
from netemu.trace.jsonform import passage_object, trace_object
from netemu.trace.text import Paint, outcome_lines, render_passage, render_text

if TYPE_CHECKING:
    from netemu.kube.cluster import Cluster


@click.command("trace")
@object_source
@click.option("--from", "source", metavar="POD|IP", required=True, help="Who sends the packet.")
@click.option(
    "--to",
    "target",
    metavar="SERVICE[:PORT]|IP:PORT[/PROTO]|http://HOST/PATH",
    required=True,
    help="Where it is sent; a URL goes to the ingress controller.",
)
@click.option("--node", "node_name", metavar="NAME", help="The node [the sender's, the only one].")
@click.option("--mode", "modes", metavar="MODE,...", help="iptables, ipvs, userspace.")
@click.option("--proxy-version", "version", metavar="V", help="kube-proxy's version [1.30].")
@click.option("--outcomes", "with_outcomes", is_flag=True, help="Enumerate all random branches.")
@click.option("--all", "everything", is_flag=True, help="Show rules that did not match, and why.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-6", "ipv6", is_flag=True, help="An IPv6 packet [if an address is one].")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all chance.")
@click.option("--kernel", type=click.Choice(KERNELS), default=KERNELS[0], show_default=True)
@watch_option
@color_option
def command(
    objects: ObjectSource,
    source: str,
    target: str,
    node_name: str | None,
    modes: str | None,
    version: str | None,
    with_outcomes: bool,
    everything: bool,
    as_json: bool,
    ipv6: bool,
    seed: int,
    kernel: str,
    watch: bool,
    color: str,
) -> int:
    """Send one packet to a Service through the rules that its objects make.

    \b
    POD is [NAMESPACE/]NAME, SERVICE is [NAMESPACE/]NAME, PORT a name or a number.
        --from default/client --to web:http
        --from 203.0.113.5 --to 192.168.0.2:30080 --mode iptables,ipvs
    """  # noqa: D301 - \b is a character to click
    cluster = objects.read()
    octets = IPV6 if ipv6 else _family(cluster, source, target)
    wanted = (modes or cluster.proxy_config().mode or "iptables").split(",")
    unknown = [mode for mode in wanted if mode not in MODES]
    if unknown:
        raise UsageError(f"--mode {unknown[0]}: there are {', '.join(MODES)}")

    def journeys() -> list[Journey]:
        asked = Asked(
            cluster=cluster,
            source=source,
            target=target,
            node=node_name,
            version=version,
            octets=octets,
            seed=seed,
            kernel=kernel,
            with_outcomes=with_outcomes,
        )
        return [journey(asked, mode) for mode in wanted]

    def text(found: list[Journey]) -> str:
        if as_json:
            return json.dumps(_as_json(found), indent=1, ensure_ascii=False)
        paint = Paint(on=wants_colour(color))
        return "\n".join(_as_text(item, everything=everything, paint=paint) for item in found)

    found = journeys()
    before = text(found)
    click.echo(before)
    if not as_json:
        say_notes(list(dict.fromkeys(note for item in found for note in item.notes)))
    if watch:
        _follow(objects, cluster, before, lambda: text(journeys()))
    return 0


def _family(cluster: Cluster, source: str, target: str) -> int:
    """Return the family that addresses are of, else that of the Services."""
    if is_family(source, IPV6) or target.startswith("["):
        return IPV6
    return IPV4 if is_family(source, IPV4) else family_of(cluster.services)


def _follow(objects: ObjectSource, cluster: Cluster, text: str, trace: Callable[[], str]) -> None:
    """Send the packet again after each change, and print what came of it where that is new."""
    before = text

    def tell(events: list[str]) -> None:
        nonlocal before
        try:
            after = trace()
        except UsageError as problem:
            after = str(problem)
        if after != before:
            click.echo("\n".join(f"# {event}" for event in events), err=True)
            click.echo(after)
        before = after

    follow(objects, cluster, tell)


def _as_json(found: list[Journey]) -> dict[str, object]:
    objects = {item.mode: _journey_object(item) for item in found}
    return next(iter(objects.values())) if len(objects) == 1 else {"modes": objects}


def _journey_object(item: Journey) -> dict[str, object]:
    if item.walk is not None:
        found = _walk_object(item.walk)
    else:
        found = {"verdict": item.verdict, "reason": item.reason, "mode": item.mode}
        refused = {"dnat": None, "snat": None, "masquerade": False, "delivered_to": None}
        shares = [asdict(share) for share in item.outcomes]
        shares = shares or [{"probability": CERTAIN, "verdict": item.verdict, **refused}]
        for share in shares:
            share.pop("percent", None)
        found |= {"events": [], "packets_out": [], "rules_visited": 0, "outcomes": shares}
    found |= item.facts
    if item.first is not None:
        found["first"] = _journey_object(item.first)
    return found


def _walk_object(item: Walk) -> dict[str, object]:
    found = trace_object(item.trace)
    found["mode"] = item.mode
    found["second"] = passage_object(item.second) if item.second is not None else None
    found["names"] = item.names(_told(item))
    return found


def _as_text(item: Journey, *, everything: bool, paint: Paint) -> str:
    parts = [f"{line}\n" for line in item.lead]
    if item.first is not None:
        parts.append("\n" + _as_text(item.first, everything=everything, paint=paint))
        parts.append("\n" + paint("the controller's own connection", "stage") + "\n")
    if item.outcomes:
        parts.append(outcome_lines(item.outcomes, paint))
    if item.walk is not None:
        parts.append(_walk_text(item.walk, everything=everything, paint=paint))
    return "".join(parts)


def _walk_text(item: Walk, *, everything: bool, paint: Paint) -> str:
    parts = [
        paint(f"== {item.mode} mode, node {item.node}", "stage"),
        render_text(item.trace, everything=everything, colour=paint.on),
    ]
    if item.second is not None:
        parts.append(paint("the proxy's own connection", "stage"))
        parts.append(render_passage(item.second, everything=everything, paint=paint))
    names = item.names(_told(item))
    if names:
        width = max(map(len, names))
        parts.append(paint("names", "stage"))
        parts += [f"  {key:<{width}}  {name}" for key, name in names.items()]
    return "\n".join(parts) + "\n"


def _told(item: Walk) -> str:
    """Return all text of a walk, for finding the names that occur in it."""
    text = render_text(item.trace, everything=False, colour=False)
    if item.second is not None:
        text += render_passage(item.second, everything=False, paint=Paint(on=False))
    return text
