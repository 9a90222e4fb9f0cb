"""`netemu kube run`: a cluster over time."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import click
from msgspec import Struct

from netemu.cli.common import KERNELS, say_notes, write_output
from netemu.cli.kube_walk import Destination, find_destination
from netemu.clock import NSEC_PER_SEC
from netemu.errors import InputError, UsageError
from netemu.kube.dns import questions
from netemu.kube.proxy.render import MODES
from netemu.kube.service_ports import IPV4
from netemu.sim.clients import Client
from netemu.sim.lab import Note
from netemu.sim.lab_spec import ClientSpec
from netemu.snapshot.kube_ingress import HTTP, request_for
from netemu.snapshot.kube_lab import KubeLab
from netemu.snapshot.kube_outside import is_address
from netemu.snapshot.kube_scenario import Scenario, act, read_scenario
from netemu.snapshot.kube_shape import MomentShape, TrafficShape
from netemu.snapshot.lab_values import duration_ns
from netemu.wire.address import parse_address

AFTERWARDS_NS = NSEC_PER_SEC


@click.command("run")
@click.argument("scenario", metavar="SCENARIO")
@click.option("--mode", type=click.Choice(MODES), help="Another mode.")
@click.option("--proxy-version", "version", metavar="V", help="kube-proxy's version.")
@click.option("--until", type=float, metavar="SECONDS", help="Stop the clock there.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all chance.")
@click.option("--kernel", type=click.Choice(KERNELS), default=KERNELS[0], show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    scenario: str,
    mode: str | None,
    version: str | None,
    until: float | None,
    seed: int,
    kernel: str,
    *,
    as_json: bool,
) -> int:
    """Let a cluster live: pods start, fail and come back, rules follow, clients ask.

    SCENARIO names files of Kubernetes objects and says what happens when. Every line is a moment of
    the simulated clock: what the control plane did, and what each client got.
    """
    read = _read(scenario)
    player = _Player(read, mode=mode, version=version, seed=seed, kernel=kernel, quiet=as_json)
    player.run(None if until is None else round(until * NSEC_PER_SEC))
    if as_json:
        write_output(None, json.dumps(player.record(), indent=1) + "\n")
    else:
        click.echo(player.summary(), nl=False)
    say_notes(player.lab.cluster.notes)
    return int(player.failed)


def _read(path: str) -> Scenario:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as problem:
        raise InputError(f"cannot be read ({problem.strerror})", file=path) from None
    return read_scenario(path, text, lambda name: Path(name).read_text(encoding="utf-8"))


class _Line(Struct):
    time_ns: int
    who: str
    text: str

    def __str__(self) -> str:
        return (
            f"{self.time_ns / NSEC_PER_SEC:9.3f}  {self.who + ': ' if self.who else ''}{self.text}"
        )


def _lasts_ns(moment: MomentShape) -> int:
    traffic = moment.traffic
    return duration_ns(traffic.every) * (traffic.count - 1) if traffic is not None else 0


class _Player:
    """Runs a scenario and keeps what is to be told."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        mode: str | None,
        version: str | None,
        seed: int,
        kernel: str,
        quiet: bool,
    ) -> None:
        self.scenario = scenario
        self.quiet = quiet
        self.lines: list[_Line] = []
        self.failed = False
        """Whether something that the scenario asked for could not be done."""
        self.last: dict[str, str] = {}
        self.lab = KubeLab(
            scenario.cluster,
            mode=mode or scenario.shape.mode,
            version=version or scenario.shape.proxyVersion or None,
            timing=scenario.timing(),
            tell=lambda text: self.tell("", text),
            seed=seed,
            kernel=kernel,
        )
        self.lab.lab.listen(self._noted)

    def tell(self, who: str, text: str) -> None:
        """Keep a line, and print it."""
        line = _Line(self.lab.lab.now_ns, who, text)
        self.lines.append(line)
        if not self.quiet:
            click.echo(str(line))

    def _noted(self, note: Note) -> None:
        """Take what a client says; connecting and closing are no news by themselves."""
        text = note.text
        self.last[note.who] = text
        if text == "the other end closed" and self._client(note.who).ok is False:
            text = "connected, and closed without an answer"
        if text.startswith("connected to") or text in {"the other end closed", "closed"}:
            return
        if text.startswith("received "):
            name, _, seen = self._body(note.who).partition("\n")
            text = f"answer of {name or text.removeprefix('received ')}"
            if seen:
                text += f", which sees {seen}"
        self.tell(note.who, text)

    def _client(self, who: str) -> Client:
        """Return the latest client of a name."""
        return next(item for item in reversed(self.lab.lab.clients) if item.spec.name == who)

    def _body(self, who: str) -> str:
        """Return the page that a client got: the name of the pod that answered."""
        answer: bytes = getattr(self._client(who), "answer", b"")
        return answer.partition(b"\r\n\r\n")[2].decode("latin-1").strip()

    def run(self, until_ns: int | None) -> None:
        """Play it."""
        lab = self.lab.lab
        self.lab.start()
        for when_ns, moment in self.scenario.moments:
            traffic = moment.traffic
            if traffic is not None:
                self._traffic(when_ns, traffic)
            else:
                lab.at(when_ns, partial(self._happen, moment))
        given = self.scenario.shape.until
        if until_ns is None and given is not None:
            until_ns = duration_ns(given)
        if until_ns is None:
            ends = [when + _lasts_ns(moment) for when, moment in self.scenario.moments]
            until_ns = max(ends, default=0) + AFTERWARDS_NS
            lab.run_until(until_ns)
            while any(client.ok is None for client in lab.clients):
                lab.run_until(lab.now_ns + AFTERWARDS_NS)
            return
        lab.run_until(until_ns)

    def _happen(self, moment: MomentShape) -> None:
        try:
            self.tell("", f"*** {act(self.lab, moment)}")
        except UsageError as problem:
            self.failed = True
            self.tell("", f"*** cannot be done: {problem}")

    def _traffic(self, start_ns: int, traffic: TrafficShape) -> None:
        interval_ns = duration_ns(traffic.every)
        for number in range(traffic.count):
            when_ns = start_ns + number * interval_ns
            name = f"{traffic.pod} -> {traffic.to}" + (f" #{number + 1}" * (traffic.count > 1))
            ask = partial(self._ask, when_ns, name, traffic)
            self.lab.lab.at(when_ns, ask)

    def _ask(self, when_ns: int, name: str, traffic: TrafficShape) -> None:
        try:
            kind, target = self._target(traffic)
            space, local = self._client_of(traffic, target)
        except UsageError as problem:
            self.failed = True
            self.tell(name, f"cannot ask: {problem}")
            return
        self.lab.lab.add_client(
            ClientSpec(
                name=name,
                namespace=space,
                kind=kind,
                local=local,
                remote=parse_address(target.ip),
                port=target.port,
                local_port=traffic.port,
                start_ns=when_ns,
                text=self._text(kind, traffic),
                timeout_ns=duration_ns(traffic.timeout),
                site=traffic.to.removeprefix(HTTP) if traffic.to.startswith(HTTP) else "",
            )
        )

    def _target(self, traffic: TrafficShape) -> tuple[str, Destination]:
        cluster = self.lab.store.cluster
        text = traffic.to
        if text.startswith(HTTP):
            asked = request_for(cluster, text)
            return "http", Destination(ip=asked.address, port=asked.port, protocol="tcp")
        if traffic.kind == "ping":
            if text.replace(".", "").isdigit():
                return "ping", Destination(ip=text, port=0, protocol="icmp")
            service = find_destination(cluster, text, IPV4)
            return "ping", Destination(ip=service.ip, port=0, protocol="icmp")
        found = find_destination(cluster, text, IPV4)
        return traffic.kind or ("udp" if found.protocol == "udp" else "http"), found

    def _text(self, kind: str, traffic: TrafficShape) -> str:
        """Return what is sent; a pod's resolver asks for one name after the other."""
        if kind == "dns":
            namespace = traffic.pod.partition("/")[0] if "/" in traffic.pod else "default"
            return " ".join(questions(traffic.text, namespace=namespace))
        return traffic.text or ("hello" if kind == "udp" else "")

    def _client_of(self, traffic: TrafficShape, target: Destination) -> tuple[str, bytes]:
        """Return the namespace that a client lives in, and its address if it is chosen."""
        if not is_address(traffic.pod):
            return self._namespace(traffic.pod), bytes(4)
        outside = self.lab.outside
        space = outside.client(traffic.pod)
        outside.lead(target.ip, target.port, target.protocol, traffic.via)
        return space, parse_address(traffic.pod)

    def _namespace(self, name: str) -> str:
        spaces = self.lab.lab.node.namespaces
        for candidate in (name, f"default/{name}"):
            if candidate in spaces:
                return candidate
        raise UsageError(f"no pod {name} runs")

    def summary(self) -> str:
        """Return how many of the clients got an answer."""
        clients = self.lab.lab.clients
        answered = sum(client.ok is True for client in clients)
        return f"{answered} of {len(clients)} clients got an answer\n" if clients else ""

    def record(self) -> dict[str, object]:
        """Return everything as plain values."""
        return {
            "scenario": self.scenario.name,
            "mode": self.lab.mode,
            "until_ns": self.lab.lab.now_ns,
            "lines": [
                {"time_ns": line.time_ns, "who": line.who, "text": line.text} for line in self.lines
            ],
            "clients": [
                {
                    "name": client.spec.name,
                    "kind": client.spec.kind,
                    "ok": client.ok,
                    "saw": self.last.get(client.spec.name, ""),
                }
                for client in self.lab.lab.clients
            ],
        }
