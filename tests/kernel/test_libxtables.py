"""Targets that no kernel here takes are printed as libxtables' own save functions print them."""

from __future__ import annotations

import ctypes.util
import json
import struct
import subprocess
import sys

import pytest

from netemu.ruleset import parse_ruleset
from tests.kernel.iptables_oracle import missing

LIBRARY = ctypes.util.find_library("xtables")
WHY_NOT = missing() or ("" if LIBRARY else "needs libxtables")

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "everything is there"),
]

CHILD = r"""
import ctypes, json, struct, sys
library, name, data = json.load(sys.stdin)
data = bytes.fromhex(data)
xtables, libc = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL), ctypes.CDLL(None)
compatible = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_uint8, ctypes.c_int)(
    lambda *_: 1
)
options = (ctypes.c_char * 4096)()
names = ctypes.c_char_p(b"save"), ctypes.c_char_p(b"1")
at = ctypes.addressof(options)
# struct xtables_globals
known = struct.pack("=IxxxxQQQQQQ", 0, ctypes.cast(names[0], ctypes.c_void_p).value,
    ctypes.cast(names[1], ctypes.c_void_p).value, at, at, 0,
    ctypes.cast(compatible, ctypes.c_void_p).value)
known = ctypes.create_string_buffer(known, len(known))
xtables.xtables_init_all(known, ctypes.c_uint8(2))
xtables.xtables_find_target.restype = ctypes.c_void_p
target = xtables.xtables_find_target(name.encode(), 2)
save = ctypes.c_void_p.from_address(target + 96).value
# struct xt_entry_target
entry = struct.pack("=H29sB", 32 + len(data), name.encode(), 0) + data
entry = ctypes.create_string_buffer(entry, len(entry) + 64)
ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(save)(None, ctypes.addressof(entry))
libc.fflush(None)
"""


def saved(name: str, data: bytes) -> str:
    """What the save function of a target prints for its kernel data."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps([LIBRARY, name, data.hex()]),
        capture_output=True,
        text=True,
        check=True,
    )
    return f"-j {name}{done.stdout}"


def printed(words: str) -> str:
    ruleset = parse_ruleset(f"*filter\n-A INPUT {words}\nCOMMIT\n")
    target = ruleset.tables[0].chains["INPUT"].rules[0].target
    assert target is not None
    return target.text


def led(trigger: str, delay: int, *, always: bool) -> bytes:
    """Kernel: struct xt_led_info."""
    return struct.pack("=27sBiQ", b"netfilter-" + trigger.encode(), always, delay, 0)


@pytest.mark.parametrize(
    "words, data",
    [
        ("--led-trigger-id foo", led("foo", 0, always=False)),
        ("--led-trigger-id a.b --led-delay inf", led("a.b", -1, always=False)),
        ('--led-trigger-id "a b" --led-delay 5 --led-always-blink', led("a b", 5, always=True)),
        ('--led-trigger-id "a\\"b\\\\c\'d"', led("a\"b\\c'd", 0, always=False)),
        ('--led-trigger-id ""', led("", 0, always=False)),
    ],
)
def test_led(words, data):
    assert saved("LED", data) == printed(f"-j LED {words}")


def test_clusterip():
    """Kernel: struct ipt_clusterip_tgt_info."""
    nodes = struct.pack("=16H", 2, *[0] * 15)
    mac = bytes.fromhex("01aabbccddee")
    data = struct.pack("=I6sHH", 1, mac, 3, 1) + nodes + struct.pack("=xxIIQ", 2, 7, 0)
    words = "--hashmode sourceip-sourceport-destport --clustermac 1:aa:bb:cc:dd:ee"
    rule = f"-d 1.2.3.4 -i lo -j CLUSTERIP --new {words}"
    assert saved("CLUSTERIP", data) == printed(
        f"{rule} --total-nodes 3 --local-node 2 --hash-init 7"
    )
