"""All schedulers, one file each.

Kernel: net/netfilter/ipvs/ip_vs_{rr,wrr,lc,...}.c; their registration in ip_vs_sched.c.
"""

from __future__ import annotations

from netemu.netfilter.ipvs.scheduler import Scheduler
from netemu.netfilter.ipvs.schedulers.dh import DH
from netemu.netfilter.ipvs.schedulers.fo import FO
from netemu.netfilter.ipvs.schedulers.lblc import LBLC
from netemu.netfilter.ipvs.schedulers.lblcr import LBLCR
from netemu.netfilter.ipvs.schedulers.lc import LC
from netemu.netfilter.ipvs.schedulers.mh import MH
from netemu.netfilter.ipvs.schedulers.nq import NQ
from netemu.netfilter.ipvs.schedulers.ovf import OVF
from netemu.netfilter.ipvs.schedulers.rr import RR
from netemu.netfilter.ipvs.schedulers.sed import SED
from netemu.netfilter.ipvs.schedulers.sh import SH
from netemu.netfilter.ipvs.schedulers.twos import TWOS
from netemu.netfilter.ipvs.schedulers.wlc import WLC
from netemu.netfilter.ipvs.schedulers.wrr import WRR

SCHEDULERS: tuple[Scheduler, ...] = (
    RR, WRR, LC, WLC, LBLC, LBLCR, DH, SH, SED, NQ, FO, OVF, MH, TWOS,
)  # fmt: skip


def _by_name() -> dict[str, Scheduler]:
    """Refuse double names, as register_ip_vs_scheduler does."""
    found: dict[str, Scheduler] = {}
    for scheduler in SCHEDULERS:
        assert scheduler.name not in found, f"two schedulers named {scheduler.name}"
        found[scheduler.name] = scheduler
    return found


BY_NAME = _by_name()
