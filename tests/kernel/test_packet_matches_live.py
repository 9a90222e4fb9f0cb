"""Matches on headers, octets, time and devices through netemu and the live kernel.

The router and the steps are those of test_rules_live; `ip ... proto=N payload=0xHEX` makes headers
that the one-line language has no words for.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from netemu.livekernel import emulator
from netemu.livekernel.case import Case, InputFrame, LocalPacket
from netemu.livekernel.verify import verify_case
from netemu.wire.address import parse_address
from netemu.wire.ethernet import ethernet_header
from netemu.wire.ipv4 import build_ipv4
from tests.kernel.test_rules_live import GAP_NS, MACS, PING, SYN, TRACE, UDP, inputs, node, table


def rules_of(*options: str, proto: str = "") -> list[str]:
    """One rule for each set of options in FORWARD."""
    protocol = f"-p {proto} " if proto else ""
    return [f"-A FORWARD {protocol}-m {one}" for one in options]


def forward(*options: str, proto: str = "") -> str:
    return TRACE + table("filter", *rules_of(*options, proto=proto))


def raw(proto: int, payload: str, *more: str) -> str:
    return " ".join(
        [
            f"eth0 ip 10.1.0.2 > 10.2.0.2 proto={proto}",
            *more,
            f"payload=0x{payload.replace(' ', '')}",
        ]
    )


def tcp(options: str = "", *, flags: int = 0x02, offset: int | None = None) -> str:
    """A TCP header with options in hexadecimal."""
    octets = bytes.fromhex(options)
    words = (20 + len(octets)) // 4 if offset is None else offset
    header = f"03e80050 00000001 00000000 {words:x}0{flags:02x}faf0 00000000"
    return raw(6, header + octets.hex())


def sctp(chunks: str) -> str:
    return raw(132, "03e80050 00000000 00000000" + chunks)


def dccp(kind: int, more: str, *, offset: int, extended: int = 1) -> str:
    """A DCCP header of 16 octets (12 when it is not extended) and what follows it."""
    header = f"03e80050 {offset:02x}00 0000 {kind << 1 | extended:02x} 000001"
    return raw(33, header + ("00000001" if extended else "") + more)


INIT = "01000014" + "00000001 0000ffff 0001 0001 00000001"
DATA = "00030011" + "00000001 0000 0000 00000000 41000000"
ABORT_T = "06010004"

# name: (rules, steps)
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "length": (
        forward(
            "length --length 40",
            "length --length 41:",
            "length ! --length 28:40",
            "length --length 9:5",
            "length ! --length 9:5",
            "length --length 65535",
        ),
        (SYN, UDP, PING, "eth0 udp 10.1.0.2:1 > 10.2.0.2:2 len=1400"),
    ),
    "ttl": (
        forward(
            "ttl --ttl-eq 63",
            "ttl ! --ttl-eq 63",
            "ttl --ttl-lt 63",
            "ttl --ttl-gt 63",
            "ttl --ttl-lt 0",
            "ttl --ttl-gt 254",
        )
        + table("mangle", "-A PREROUTING -m ttl --ttl-eq 64", "-A PREROUTING -m ttl --ttl-lt 2"),
        (SYN, f"{UDP} ttl=255", f"{UDP} ttl=2", f"{UDP} ttl=65", f"{UDP} ttl=1"),
    ),
    "tos-dscp-ecn": (
        forward(
            "tos --tos 0x10",
            "tos --tos Minimize-Delay",
            "tos ! --tos 0x08/0x0c",
            "tos --tos 0xf0/0x0f",
            "dscp --dscp 46",
            "dscp ! --dscp-class AF11",
            "ecn --ecn-ip-ect 0",
            "ecn ! --ecn-ip-ect 3",
            "ecn --ecn-ip-ect 1",
        ),
        tuple(
            f"{UDP} tos={tos}"
            for tos in ("0", "0x10", "0x11", "0x50", "0xb8", "0xbb", "0x28", "0x0b")
        ),
    ),
    "ecn-of-tcp": (
        forward(
            "ecn --ecn-tcp-ece",
            "ecn ! --ecn-tcp-ece",
            "ecn --ecn-tcp-cwr",
            "ecn --ecn-tcp-ece --ecn-tcp-cwr",
            "ecn --ecn-tcp-ece ! --ecn-tcp-cwr --ecn-ip-ect 0",
            proto="tcp",
        ),
        (
            *(tcp(flags=flags) for flags in (0x02, 0x42, 0x82, 0xC2)),
            raw(6, "03e80050 00000001 00000000"),
        ),
    ),
    "iprange": (
        forward(
            "iprange --src-range 10.1.0.2-10.1.0.2",
            "iprange ! --src-range 10.1.0.3-10.1.0.9",
            "iprange --dst-range 10.2.0.0-10.2.0.2 --src-range 0.0.0.0-10.1.0.2",
            "iprange --src-range 10.1.0.9-10.1.0.1",
            "iprange ! --dst-range 10.2.0.9-10.2.0.1",
            "iprange ! --src-range 10.1.0.0-10.1.0.9 ! --dst-range 10.2.0.0-10.2.0.9",
        ),
        (SYN, "eth0 udp 10.1.0.3:1 > 10.2.0.2:1", "eth0 udp 10.1.0.3:1 > 10.2.0.3:1"),
    ),
    "pkttype": (
        TRACE
        + table(
            "mangle",
            *(
                f"-A {chain} -m pkttype --pkt-type {kind}"
                for chain in ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
                for kind in ("unicast", "broadcast", "multicast", "otherhost")
            ),
            "-A PREROUTING -m pkttype ! --pkt-type unicast",
        ),
        (
            SYN,
            "eth0 icmp 10.1.0.2 > 10.1.0.1 echo",
            "eth0 udp 10.1.0.2:1 > 10.1.0.255:9 dst-mac=ff:ff:ff:ff:ff:ff",
            "eth0 udp 10.1.0.2:1 > 224.0.0.1:9 dst-mac=01:00:5e:00:00:01",
            "local udp 10.1.0.1:9 > 10.2.0.2:9",
            "local udp 127.0.0.1:9 > 127.0.0.1:9",
        ),
    ),
    "u32": (
        forward(
            'u32 --u32 "0=0x4500001c"',
            'u32 --u32 "0>>16=0x4500"',
            'u32 --u32 "6&0xff=17&&4&0x3fff=0"',
            'u32 --u32 "6 & 0xFF = 17 && 0>>22&0x3C@0>>16=1000"',
            'u32 --u32 "0>>22&0x3C@0&0xffff=53,80:90"',
            'u32 ! --u32 "0>>22&0x3C@0&0xffff=53"',
            'u32 --u32 "24=0:0xffffffff"',
            'u32 --u32 "25=0:0xffffffff"',
            'u32 ! --u32 "25=0:0xffffffff"',
            'u32 --u32 "0>>22&0x3C@4=0:0xffffffff"',
            'u32 --u32 "0>>22&0x3C@5=0:0xffffffff"',
            'u32 --u32 "0@0=0:0xffffffff"',
            'u32 --u32 "0<<4>>4=0x500001c"',
            'u32 --u32 "8<<31=0x80000000,0"',
            'u32 --u32 "0>>22&0x3C@0>>26@0=0:0xffffffff"',
            'u32 --u32 "0=9:5"',
            'u32 --u32 "4294967295=0:0xffffffff"',
            'u32 --u32 "0>>22&0x3C@4294967295=0:0xffffffff"',
        ),
        (SYN, UDP, PING, "eth0 udp 10.1.0.2:99 > 10.2.0.2:85 len=100"),
    ),
    "string": (
        forward(
            *(
                f"string --algo {method} {rest}"
                for method in ("bm", "kmp")
                for rest in (
                    "--string GET",
                    "--string get",
                    "--string gEt --icase",
                    "! --string GET",
                    "--string GET --from 28",
                    "--string GET --from 29",
                    "--string GET --from 29 --to 32",
                    "--string GET --to 31",
                    "--string GET --to 30",
                    "--string GET --from 28 --to 28",
                    "--string GET --from 60000",
                    '--hex-string "|45 00|"',
                    '--hex-string "|4500|" --from 1',
                    '--hex-string "|0a01 0002|" --to 16',
                    "--string ababac",
                    "--string aaab",
                    '--hex-string "|e9|" --icase',
                    '--hex-string "|c9|" --icase',
                    '--hex-string "|f7|" --icase',
                    '--hex-string "|d7|" --icase',
                )
            )
        ),
        (
            f"{UDP} payload=GET",
            f"{UDP} payload=xGETGET",
            f"{UDP} payload=abababacaaaaab",
            f"{UDP} payload=gEt",
            f"{UDP} payload=0xe9d7",
            f"{UDP} payload=0xc9f7",
            UDP,
        ),
    ),
    "tcpmss": (
        forward(
            "tcpmss --mss 1460",
            "tcpmss ! --mss 1460",
            "tcpmss --mss 536:1459",
            "tcpmss --mss 0:65535",
            "tcpmss ! --mss 0:65535",
            proto="tcp",
        ),
        (
            tcp(),
            tcp("020405b4"),
            tcp("020405b3"),
            tcp("0101020405b40303"),
            tcp("020405b4 02040218"),
            tcp("0303020405b40000"),
            tcp("020305b4"),
            tcp("01010102"),
            tcp("0200020405b40000"),
            tcp("020405b4", offset=4),
            tcp("020405b4", offset=7),
            raw(6, "03e80050 00000001 00000000"),
        ),
    ),
    "realm-cpu-devgroup-policy": (
        TRACE
        + table(
            "filter",
            *rules_of(
                "realm --realm 0",
                "realm ! --realm cosmos",
                "realm --realm 1",
                "realm --realm 0/0",
                "realm --realm 1/0",
                "cpu --cpu 4000",
                "cpu ! --cpu 4000",
                "devgroup --src-group default",
                "devgroup ! --src-group 0 --dst-group 0",
                "devgroup --dst-group 1",
                "devgroup ! --dst-group 0x1/0x3",
                "devgroup --src-group 0x4/0x3",
                "policy --dir in --pol none",
                "policy --dir in --pol ipsec",
                "policy --dir in --pol ipsec --strict --reqid 1 --spi 5 --mode tunnel "
                "--tunnel-src 1.2.3.4 --tunnel-dst 1.2.3.5 --next --reqid 2",
                "policy --dir out --pol none",
                "policy --dir out --pol ipsec ! --proto esp",
            ),
            "-A OUTPUT -m policy --dir out --pol none",
            "-A OUTPUT -m policy --dir out --pol ipsec",
            "-A OUTPUT -m realm --realm cosmos",
            "-A INPUT -m devgroup --src-group default",
        ),
        (SYN, "eth0 icmp 10.1.0.2 > 10.1.0.1 echo", "local udp 10.1.0.1:9 > 10.2.0.2:9"),
    ),
    "esp": (
        forward("esp", "esp --espspi 5", "esp ! --espspi 5", "esp --espspi 6:", proto="esp")
        + forward("esp ! --espspi 0:4294967295", proto="esp"),
        (raw(50, "00000005 00000001"), raw(50, "80000005 00000001 41"), raw(50, "00000005")),
    ),
    "ah": (
        forward("ah", "ah --ahspi 5", "ah ! --ahspi 5", "ah --ahspi 6:", proto="ah"),
        (
            raw(51, "06010000 00000005 00000001"),
            raw(51, "06010000 80000005 00000001 41"),
            raw(51, "06010000 00000005"),
        ),
    ),
    "ipcomp": (
        forward(
            "ipcomp",
            "ipcomp --ipcompspi 5 --compres",
            "ipcomp ! --ipcompspi 5",
            "ipcomp --ipcompspi 6:",
            proto="ipcomp",
        ),
        (raw(108, "06000005"), raw(108, "06008005 41"), raw(108, "06000000"), raw(108, "0600")),
    ),
    "sctp": (
        forward(
            "sctp --sport 1000",
            "sctp ! --sport 1000",
            "sctp --dport 80:90 --sport 0:999",
            *(
                f"sctp {bang}--chunk-types {how} {types}"
                for bang in ("", "! ")
                for how in ("any", "all", "only")
                for types in ("INIT", "DATA", "DATA,ABORT:T", "DATA:be,ABORT", "ALL", "NONE")
            ),
            "sctp --chunk-types any DATA:B",
            "sctp --chunk-types only DATA:BE",
            "sctp --chunk-types all ABORT:t",
            "sctp --chunk-types any I_DATA:U",
            proto="sctp",
        ),
        (
            sctp(INIT),
            sctp(DATA),
            sctp(ABORT_T),
            sctp(DATA + ABORT_T),
            sctp(DATA.replace("0003", "0000", 1) + DATA),
            sctp("40010010 000000010000000000000001"),
            sctp("c6010004" + DATA),
            raw(132, "03e80050 00000000 00000000"),
        ),
    ),
    "sctp-cut-short": (
        forward("sctp --chunk-types any INIT", proto="sctp"),
        (
            raw(132, "03e80050 00000000"),
            sctp(""),
            sctp("0000"),
            sctp("00000000"),
            sctp(DATA + "00"),
            sctp("00030100"),
            sctp("00030005 41"),
        ),
    ),
    "dccp": (
        forward(
            "dccp --sport 1000 ! --dport 81",
            "dccp --dccp-types REQUEST",
            "dccp ! --dccp-types REQUEST,ACK",
            "dccp --dccp-types DATA,INVALID",
            "dccp --dccp-types SYNC",
            proto="dccp",
        ),
        (
            dccp(0, "00000000", offset=5),
            dccp(2, "", offset=4),
            dccp(2, "", offset=3, extended=0),
            dccp(3, "00000000 00000001", offset=6),
            dccp(8, "00000000 00000001", offset=6),
            dccp(10, "", offset=4),
            raw(33, "03e80050 03000000"),
        ),
    ),
    "dccp-options": (
        forward(
            "dccp --dccp-option 2",
            "dccp ! --dccp-option 2",
            "dccp --dccp-option 32",
            "dccp --dccp-option 1",
            proto="dccp",
        ),
        (
            dccp(0, "00000000 02030100", offset=6),
            dccp(0, "00000000 01200400 00000102", offset=7),
            dccp(0, "00000000 01200000 00000102", offset=7),
            dccp(0, "00000000", offset=5),
            dccp(2, "", offset=4),
            dccp(2, "02000000", offset=5),
            dccp(2, "02000000", offset=4, extended=0),
        ),
    ),
    "dccp-options-cut-short": (
        forward("dccp --dccp-option 2", proto="dccp"),
        (
            dccp(0, "00000000", offset=4),
            dccp(0, "00000000", offset=6),
            dccp(2, "", offset=3),
            dccp(10, "", offset=4),
            dccp(10, "02000000", offset=5),
            dccp(3, "", offset=4),
        ),
    ),
    "rpfilter": (
        TRACE
        + table(
            "raw",
            "-A PREROUTING -m rpfilter",
            "-A PREROUTING -m rpfilter --invert",
            "-A PREROUTING -m rpfilter --loose",
            "-A PREROUTING -m rpfilter --accept-local",
            "-A PREROUTING -m rpfilter --accept-local --loose",
            "-A PREROUTING -m rpfilter --validmark",
            "-A PREROUTING -m rpfilter --loose --invert",
        )
        + table("mangle", "-A PREROUTING -m rpfilter"),
        (
            SYN,
            "eth0 udp 10.2.0.2:1 > 10.1.0.1:2",
            "eth0 udp 10.1.0.1:1 > 10.2.0.2:2",
            "eth0 udp 10.2.0.1:1 > 10.1.0.1:2",
            "eth0 udp 192.0.2.1:1 > 10.2.0.2:2",
            "eth0 udp 10.1.0.255:1 > 10.2.0.2:2",
            "eth0 udp 0.0.0.0:68 > 255.255.255.255:67 dst-mac=ff:ff:ff:ff:ff:ff",
            "eth0 udp 0.0.0.0:68 > 224.0.0.1:67 dst-mac=01:00:5e:00:00:01",
            "eth0 udp 0.0.0.0:68 > 10.1.0.1:67",
            "eth0 udp 10.1.0.2:68 > 224.0.0.1:67 dst-mac=01:00:5e:00:00:01",
            "eth0 udp 127.0.0.1:1 > 10.1.0.1:2",
            "local udp 10.1.0.1:9 > 10.1.0.1:9",
            "local udp 127.0.0.1:9 > 127.0.0.1:9",
        ),
    ),
    "bpf": (
        forward(
            *(
                f'bpf --bytecode "{program}"'
                for program in (
                    "1,6 0 0 1",
                    "1,6 0 0 0",
                    "4,48 0 0 9,21 0 1 17,6 0 0 1,6 0 0 0",
                    "3,40 0 0 2,2 0 0 3,22 0 0 0",
                    "5,177 0 0 0,72 0 0 2,21 0 1 53,6 0 0 1,6 0 0 0",
                    "4,128 0 0 0,21 0 1 28,6 0 0 1,6 0 0 0",
                    "2,32 0 0 24,6 0 0 1",
                    "2,32 0 0 25,6 0 0 1",
                    "3,1 0 0 4294967295,80 0 0 0,6 0 0 1",
                    "4,40 0 0 4294963200,21 0 1 2048,6 0 0 1,6 0 0 0",
                    "4,32 0 0 4294963220,21 0 1 0,6 0 0 1,6 0 0 0",
                    "4,32 0 0 4294963204,21 0 1 0,6 0 0 1,6 0 0 0",
                    "4,32 0 0 4294963228,21 0 1 1,6 0 0 1,6 0 0 0",
                    "4,32 0 0 4294963248,21 0 1 0,6 0 0 1,6 0 0 0",
                    "4,32 0 0 4294963252,21 0 1 28,6 0 0 1,6 0 0 0",
                    "4,32 0 0 4294963252,21 0 1 40,6 0 0 1,6 0 0 0",
                    "4,48 0 0 4293918729,21 0 1 17,6 0 0 1,6 0 0 0",
                    "4,40 0 0 4292870156,21 0 1 2048,6 0 0 1,6 0 0 0",
                    "7,0 0 0 7,7 0 0 0,0 0 0 100,60 0 0 0,21 0 1 14,6 0 0 1,6 0 0 0",
                    "5,0 0 0 100,148 0 0 7,21 0 1 2,6 0 0 1,6 0 0 0",
                    "6,1 0 0 0,0 0 0 100,60 0 0 0,6 0 0 1,6 0 0 0,6 0 0 0",
                    "6,1 0 0 33,0 0 0 1,108 0 0 0,21 0 1 2,6 0 0 1,6 0 0 0",
                    "5,0 0 0 1,132 0 0 0,21 0 1 4294967295,6 0 0 1,6 0 0 0",
                    "5,0 0 0 0,20 0 0 1,53 0 1 2147483648,6 0 0 1,6 0 0 0",
                    "6,0 0 0 255,164 0 0 15,4 0 0 1,21 0 1 241,6 0 0 1,6 0 0 0",
                    "6,0 0 0 3,36 0 0 2147483648,68 0 0 1,69 0 1 2147483648,6 0 0 1,6 0 0 0",
                    "7,0 0 0 9,2 0 0 15,97 0 0 15,135 0 0 0,29 1 0 0,6 0 0 0,6 0 0 1",
                    "3,5 0 0 1,6 0 0 0,6 0 0 1",
                    "4,80 0 0 0,84 0 0 240,21 0 0 64,22 0 0 0",
                    "5,129 0 0 0,135 0 0 0,37 0 1 28,6 0 0 1,6 0 0 0",
                )
            )
        ),
        (SYN, UDP, PING, "eth0 udp 10.1.0.2:99 > 10.2.0.2:85 len=100 tos=4"),
    ),
}


def fragments(proto: int, payload: bytes, *cuts: int) -> list[InputFrame | LocalPacket]:
    """One datagram cut at multiples of 8 octets, a frame for each piece."""
    found: list[InputFrame | LocalPacket] = []
    for number, (start, end) in enumerate(pairwise([0, *cuts, len(payload)])):
        packet = build_ipv4(
            src=parse_address("10.1.0.2"),
            dst=parse_address("10.2.0.2"),
            protocol=proto,
            payload=payload[start:end],
            identification=7,
            fragment_offset=start // 8,
            more_fragments=end < len(payload),
        )
        header = ethernet_header(MACS["eth0"], bytes.fromhex("020000000102"), 0x0800)
        frame = header + bytes(packet)
        found.append(InputFrame(device="eth0", time_ns=number * GAP_NS, frame=frame))
    return found


UDP_TEXT = bytes.fromhex("03e80035 0044 0000") + b"GET /" + b"x" * 35 + b"needle" + b"y" * 14

# name: (rules, protocol, payload, cuts)
CUT: dict[str, tuple[str, int, bytes, tuple[int, ...]]] = {
    "pieces-alone": (
        forward(
            "length --length 36",
            "length --length 56:64",
            'u32 --u32 "20=0x03e80035"',
            'u32 --u32 "6&0x1fff=1:8191"',
            "string --algo bm --string needle",
            "string --algo kmp --string GET",
            "ttl --ttl-eq 63",
            'bpf --bytecode "4,32 0 0 4294963252,21 0 1 20,6 0 0 1,6 0 0 0"',
            'bpf --bytecode "5,177 0 0 0,72 0 0 2,21 0 1 53,6 0 0 1,6 0 0 0"',
        ),
        17,
        UDP_TEXT,
        (16, 48),
    ),
    "pieces-put-together": (
        forward(
            "length --length 88",
            *(
                f"string --algo {how} --string {what}"
                for how in ("bm", "kmp")
                for what in ("needle", "GET", "xxy")
            ),
            "string --algo kmp --string xneedley",
            "string --algo bm --string xneedley",
            "u32 --u32 80=0x79797979",
            'bpf --bytecode "4,128 0 0 0,21 0 1 88,6 0 0 1,6 0 0 0"',
        )
        + table("filter", "-A FORWARD -m conntrack --ctstate NEW"),
        17,
        UDP_TEXT,
        (16, 48),
    ),
    "tcp-pieces": (
        forward("tcpmss ! --mss 5", "ecn --ecn-tcp-ece", "ecn ! --ecn-tcp-ece", proto="tcp"),
        6,
        bytes.fromhex("03e80050 00000001 00000000 7042faf0 00000000 020405b4 01010101") + b"@" * 44,
        (32, 64),
    ),
    "esp-pieces": (
        forward("esp", "esp ! --espspi 5", proto="esp"),
        50,
        bytes.fromhex("00000006 00000001") + bytes(24),
        (16, 24),
    ),
    "sctp-pieces": (
        forward("sctp", "sctp ! --dport 5", "sctp ! --chunk-types any INIT", proto="sctp"),
        132,
        bytes.fromhex("03e80050 00000000 00000000" + DATA) + bytes(32),
        (32, 40),
    ),
}


@pytest.mark.parametrize("name", CUT)
def test_fragments(name: str) -> None:
    rules, proto, payload, cuts = CUT[name]
    case = Case(node=node(_joined(rules)), inputs=fragments(proto, payload, *cuts), name=name)
    outcome = verify_case(case)
    assert outcome.difference is None, str(outcome.difference)


def time_rules(now: datetime) -> list[str]:
    """Rules about the present second, none of whose bounds is nearer than a minute."""
    before, after = now - timedelta(minutes=2), now + timedelta(minutes=2)
    yesterday, tomorrow = now - timedelta(days=1), now + timedelta(days=1)
    return [
        "time",
        f"time --datestart {before:%Y-%m-%dT%H:%M:%S}",
        f"time --datestart {after:%Y-%m-%dT%H:%M:%S}",
        f"time --datestop {after:%Y-%m-%dT%H:%M:%S}",
        f"time --datestop {before:%Y-%m-%dT%H:%M:%S}",
        f"time --timestart {before:%H:%M:%S} --timestop {after:%H:%M:%S}",
        f"time --timestart {after:%H:%M:%S} --timestop {before:%H:%M:%S}",
        f"time --timestart {after:%H:%M:%S} --timestop {after:%H:%M:%S}",
        f"time --timestart {before:%H:%M:%S}",
        f"time --timestop {before:%H:%M:%S}",
        f"time --weekdays {now:%a}",
        f"time ! --weekdays {now:%a}",
        f"time --weekdays {yesterday:%a},{tomorrow:%a}",
        f"time --monthdays {now.day}",
        f"time ! --monthdays {now.day},{tomorrow.day}",
        f"time --monthdays {yesterday.day} --kerneltz",
        f"time --monthdays {now.day} --utc",
        f"time --weekdays {yesterday:%a} --timestart 23:59:59 --timestop {after:%H:%M:%S} --contiguous",
        f"time --monthdays {now.day} --timestart 23:59:59 --timestop {after:%H:%M:%S} --contiguous",
        "time --weekdays 8",
        "time --monthdays 0",
    ]


def test_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only here netemu's clock begins with the machine's."""
    monkeypatch.setattr(emulator, "EPOCH_NS", time.time_ns())
    now = datetime.now(UTC)
    if (
        not timedelta(minutes=3)
        < now - now.replace(hour=0, minute=0)
        < timedelta(hours=23, minutes=56)
    ):
        pytest.skip("too near to midnight")
    case = Case(node=node(forward(*time_rules(now))), inputs=inputs((SYN, UDP)), name="time")
    outcome = verify_case(case)
    assert outcome.difference is None, str(outcome.difference)


@pytest.mark.parametrize("name", CASES)
def test_netemu_does_as_the_kernel(name: str) -> None:
    rules, steps = CASES[name]
    case = Case(node=node(_joined(rules)), inputs=inputs(steps), name=name)
    outcome = verify_case(case)
    assert outcome.difference is None, str(outcome.difference)


def _joined(rules: str) -> str:
    """Put several sections of one table into one, since iptables-restore replaces a table whole."""
    sections: dict[str, list[str]] = {}
    for section in rules.split("COMMIT\n"):
        if section:
            head, *lines = section.splitlines()
            sections.setdefault(head, []).extend(lines)
    return "".join("\n".join([head, *lines, "COMMIT", ""]) for head, lines in sections.items())
