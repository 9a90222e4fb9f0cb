"""Runs cases inside of the kernel that has IPVS: frames in, frames and tables out.

It stands alone, needs nothing but the standard library and never leaves the guest. The node under
test is the namespace `node`; the far end of each of its ports is a raw socket here. An ARP probe
that comes back tells that everything before it is through: a kernel with one CPU has one backlog.

cases.json:  [{"name", "sysctl": {}, "iptables": text, "ipset": text, "ipvs": text, "trace": bool,
               "steps": [{"at": port, "hex": frame} | {"local": packet} | {"ipvs": text}
                         | {"wait": seconds} | {"sysctl": {}}
                         | {"answer": number of a step} | {"error": number of a step}]}]
             Each step may have "settle", seconds in which timers run before tables are read.
results:     one line per case: {"name", "start", "steps": [{"time", "in", "out": [...],
             "log": [...], "ip_vs": [...]}], "connections", "conntrack", "save", and with "saved"
             "Ln", "Lnc", "Sn", "timeout"}

The other end answers the first frame that left the node in the step that it names, or complains
about it by an ICMP error: so no case needs to know which server is chosen.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

PORTS = ("client", "pod1", "pod2", "pod3", "lan")
GUE_PORT = (6080).to_bytes(2, "big")
NODE_ADDRESS = bytes([192, 168, 50, 1])
NET = Path("/proc/thread-self/net")

libc = ctypes.CDLL(None, use_errno=True)


def setns(name):
    descriptor = os.open("/run/netns/" + name, os.O_RDONLY)
    if libc.setns(descriptor, 0x40000000):
        raise OSError(ctypes.get_errno(), "setns " + name)
    os.close(descriptor)


def sh(command, stdin=None, check=True):
    done = subprocess.run(command, input=stdin, text=True, capture_output=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{command}: {done.stderr}")
    return done.stdout


def set_sysctl(values):
    for key, value in values.items():
        Path("/proc/sys", *key.split(".")).write_text(str(value))


def ip_batch(lines, *options):
    sh(["ip", *options, "-b", "-"], "\n".join(lines))


def build():
    """Make the node; `world` of the host describes the same."""
    ip_batch(["netns add node", "netns add far"])
    ip_batch(["link set lo up"], "-n", "node")
    pairs = [("eth0", "client", "50:01", "50:02"), ("eth1", "lan", "60:01", "60:02")]
    pairs += [(f"veth{i}", f"pod{i}", f"41:0{i}", f"40:1{i}") for i in (1, 2, 3)]
    ip_batch(
        f"link add {device} address 02:00:00:00:{mac} netns node type veth "
        f"peer name {far} address 02:00:00:00:{far_mac} netns far"
        for device, far, mac, far_mac in pairs
    )
    setns("far")
    for name in ("all", "default", *PORTS):
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
    ip_batch(f"link set {port} up" for port in PORTS)
    sockets = {}
    for port in PORTS:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        raw.bind((port, 3))
        raw.setblocking(False)
        sockets[port] = raw
    setns("node")
    set_sysctl({
        "net.ipv6.conf.all.disable_ipv6": 1, "net.ipv6.conf.default.disable_ipv6": 1,
        "net.ipv4.ip_forward": 1, "net.ipv4.conf.all.rp_filter": 0,
        "net.ipv4.conf.default.rp_filter": 0, "net.netfilter.nf_log.2": "nf_log_ipv4",
        "net.ipv4.conf.all.send_redirects": 0, "net.ipv4.conf.default.send_redirects": 0,
            "net.ipv4.icmp_ratelimit": 0,
    })  # fmt: skip
    lines = [
        "link add cni0 address 02:00:00:00:40:01 type bridge",
        "link set cni0 type bridge mcast_snooping 0",
        "addr add 10.244.0.1/24 dev cni0",
        "link set cni0 up",
        "addr add 192.168.50.1/24 dev eth0",
        "link set eth0 up",
        "addr add 172.16.0.1/24 dev eth1",
        "link set eth1 up",
        "link add kube-ipvs0 type dummy",
        "route add default via 192.168.50.254",
        "route add 203.0.113.0/24 via 172.16.0.9",
        "neigh add 192.168.50.254 lladdr 02:00:00:00:50:02 dev eth0 nud permanent",
        "neigh add 172.16.0.9 lladdr 02:00:00:00:60:02 dev eth1 nud permanent",
    ]
    lines += [f"addr add 10.96.0.{i}/32 dev kube-ipvs0" for i in range(10, 15)]
    lines += [f"link set veth{i} master cni0 up" for i in (1, 2, 3)]
    lines += [
        f"neigh add 10.244.0.{10 * k + i} lladdr 02:00:00:00:40:1{i} dev cni0 nud permanent"
        for i in (1, 2, 3)
        for k in (1, 2)
    ]
    lines += [
        f"neigh add 192.168.50.{i} lladdr 02:00:00:00:50:02 dev eth0 nud permanent"
        for i in range(2, 34)
    ]
    lines += [
        f"neigh add 172.16.0.{i} lladdr 02:00:00:00:60:02 dev eth1 nud permanent"
        for i in range(2, 9)
    ]
    ip_batch(lines)
    for device in ("eth0", "eth1", "veth1", "veth2", "veth3"):
        sh(["ethtool", "-K", device, "tx", "off"])
    sh(
        ["bridge", "-b", "-"],
        "\n".join(f"fdb replace 02:00:00:00:40:1{i} dev veth{i} master static" for i in (1, 2, 3)),
    )
    return sockets


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip_packet(src, dst, protocol, segment, ttl=64):
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 1, 0x4000, ttl, protocol, 0)
    header += src + dst
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + segment


def l4_segment(src, dst, protocol, segment, check_at):
    pseudo = src + dst + struct.pack("!BBH", 0, protocol, len(segment))
    check = struct.pack("!H", checksum(pseudo + segment))
    return segment[:check_at] + check + segment[check_at + 2 :]


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return struct.pack("<I", crc ^ 0xFFFFFFFF)


def inside(packet):
    """Return the packet in a tunnel's, or itself."""
    later_part = (packet[6] << 8 | packet[7]) & 0x1FFF
    if packet[9] == 4:
        return packet[20:]
    if packet[9] == 17 and packet[22:24] == GUE_PORT and not later_part:
        return packet[32:]
    if packet[9] == 47 and not later_part:
        return packet[28 if packet[20] & 0x80 else 24 :]
    return packet


def respond(seen, step):
    """Return the port and frame with which the other end answers a step; None without a frame."""
    number = step["answer"] if "answer" in step else step["error"]
    if not seen[number]["out"]:
        return None
    frame = seen[number]["out"][0]
    data = bytes.fromhex(frame["hex"])
    packet = data[14:]
    if data[12:14] != b"\x08\x00" or len(packet) < 24:
        return None
    mac = data[6:12] + data[:6] + b"\x08\x00"
    if "error" in step:
        body = struct.pack("!BBHI", step["type"], step["code"], 0, step.get("info", 0))
        body += packet[: step.get("quote", 28)]
        check = checksum(body) ^ step.get("broken", 0)
        body = body[:2] + struct.pack("!H", check) + body[4:]
        src = socket.inet_aton(step["src"]) if "src" in step else packet[16:20]
        return frame["at"], mac + ip_packet(src, packet[12:16], 1, body)
    packet = inside(packet)
    if len(packet) < 24:
        return None
    segment = packet[(packet[0] & 15) * 4 :]
    src, dst, protocol = packet[16:20], packet[12:16], packet[9]
    ports = segment[2:4] + segment[:2]
    payload = bytes.fromhex(step.get("data", "")) + step.get("text", "").encode()
    if protocol == 6:
        made = ports + struct.pack(
            "!IIBBHHH", step["seq"], step["ack"], 0x50, step["flags"], 64240, 0, 0
        )
        made = l4_segment(src, dst, 6, made + payload, 16)
    elif protocol == 17:
        made = ports + struct.pack("!HH", 8 + len(payload), 0) + payload
        made = l4_segment(src, dst, 17, made, 6)
    elif protocol == 132:
        made = sctp_segment(ports, step.get("chunk", 0))
    else:
        return None
    return frame["at"], mac + ip_packet(src, dst, protocol, made)


def closes(seen, step):
    """Return whether a SYN answers what is none, which may end a connection at the next tick."""
    asked = bytes.fromhex(seen[step.get("answer", step.get("error"))]["out"][0]["hex"])
    return "answer" in step and step["flags"] & 2 and asked[23] == 6 and not asked[47] & 2


def sctp_segment(ports, chunk):
    body = (
        struct.pack("!BBH", chunk, 0, 4)
        if chunk not in (1, 2)
        else (struct.pack("!BBHIIHHI", chunk, 0, 20, 7, 4096, 1, 1, 1))
    )
    made = ports + struct.pack("!II", 0 if chunk == 1 else 7, 0) + body
    return made[:8] + crc32c(made) + made[12:]


class Fence:
    """ARP probes with senders of their own."""

    def __init__(self, sockets):
        self.sockets = sockets
        self.count = 0

    def drain(self):
        """Return the frames that came out up to now."""
        self.count += 1
        sender = b"\x02\xfe" + struct.pack("!I", self.count)
        self.sockets["client"].send(
            b"\xff" * 6
            + sender
            + bytes.fromhex("08060001080006040001")
            + sender
            + bytes(10)
            + NODE_ADDRESS
        )
        out, done, end = [], False, time.monotonic() + 2
        while not done:
            if time.monotonic() > end:
                raise RuntimeError("the fence was lost")
            select.select(list(self.sockets.values()), [], [], 0.2)
            for port, raw in self.sockets.items():
                with contextlib.suppress(BlockingIOError):
                    while True:
                        frame, address = raw.recvfrom(65535)
                        if address[2] == 4:  # what this end itself sent
                            continue
                        if frame[:2] == b"\x02\xfe" and frame[12:14] == b"\x08\x06":
                            done = done or frame[:6] == sender
                        else:
                            out.append({"at": port, "hex": frame.hex()})
        return out


def flush_conntrack():
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    netlink.send(struct.pack("=IHHIIBBH", 20, 0x0102, 5, 1, 0, 0, 0, 0))
    netlink.recv(4096)
    netlink.close()


def read_log(descriptor):
    out = []
    with contextlib.suppress(BlockingIOError):
        while True:
            record = os.read(descriptor, 8192).decode(errors="replace")
            out.append(record.split(";", 1)[1].split("\n")[0])
    return out


def local_send(packet):
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with raw, contextlib.suppress(OSError):
        raw.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))


def lines_of(name):
    return (NET / name).read_text().splitlines()


def rebuild(fence):
    """Make the node anew: connections that bypass the servers outlive them."""
    for raw in fence.sockets.values():
        raw.close()
    HOME.enter()
    ip_batch(["netns del node", "netns del far"])
    fence.sockets = build()
    time.sleep(0.3)
    fence.drain()


class Home:
    """The namespace that everything began in."""

    def __init__(self):
        self.descriptor = os.open("/proc/self/ns/net", os.O_RDONLY)

    def enter(self):
        libc.setns(self.descriptor, 0x40000000)


HOME = Home()
DEFAULTS = {}
LAST = {"timeouts": None, "ipset": None, "ftp": False}
NO_RULES = "".join(f"*{table}\nCOMMIT\n" for table in ("raw", "mangle", "nat", "filter"))


def reset(case, fence):
    """Begin anew; without servers connections end soon (expire_nodest_conn).

    A case's rules replace those of all tables, since they name each. The trash keeps servers for
    two minutes, with their counters: where these are compared, the node is built anew.
    """
    vs = "net.ipv4.vs."
    set_sysctl({vs + "expire_nodest_conn": 1})
    sh(["ipvsadm", "-C"])
    end = time.monotonic() + 0.5
    while len(lines_of("ip_vs_conn")) > 1 and time.monotonic() < end:
        time.sleep(0.005)
    if len(lines_of("ip_vs_conn")) > 1 or case.get("stats"):
        rebuild(fence)
    # Path MTUs that a case's errors taught are forgotten.
    set_sysctl({**DEFAULTS, **case.get("sysctl", {}), "net.ipv4.route.flush": 1})
    if case.get("ftp", False) != LAST["ftp"]:
        LAST["ftp"] = case.get("ftp", False)
        sh(["/run/modprobe", *(() if LAST["ftp"] else ("-r",)), "ip_vs_ftp"])
    timeouts = case.get("timeouts", (900, 120, 300))
    if timeouts != LAST["timeouts"]:
        LAST["timeouts"] = timeouts
        sh(["ipvsadm", "--set", *map(str, timeouts)])
    if LAST["ipset"]:
        sh(["iptables-legacy-restore", "-c"], NO_RULES)
        sh(["ipset", "destroy"])
    LAST["ipset"] = case.get("ipset")
    if case.get("ipset"):
        sh(["ipset", "restore"], case["ipset"])
    sh(["iptables-legacy-restore", "-c"], case["iptables"])
    if case.get("ipvs"):
        sh(["ipvsadm", "-R"], case["ipvs"])
    flush_conntrack()


def run_case(case, fence, log):
    begun = time.monotonic()
    reset(case, fence)
    fence.drain()
    read_log(log)
    result = {"name": case["name"], "start": time.monotonic(), "steps": []}
    result["reset"] = result["start"] - begun
    for step in case["steps"]:
        seen = {"time": time.monotonic() - result["start"]}
        if "hex" in step:
            seen["in"] = step
            fence.sockets[step["at"]].send(bytes.fromhex(step["hex"]))
        elif "local" in step:
            local_send(bytes.fromhex(step["local"]))
        elif "answer" in step or "error" in step:
            made = respond(result["steps"], step)
            if made is not None:
                seen["in"] = {"at": made[0], "hex": made[1].hex()}
                if closes(result["steps"], step):
                    step = {"settle": 0.04, **step}
                fence.sockets[made[0]].send(made[1])
        elif "ipvs" in step:
            sh(["ipvsadm", "-R"], step["ipvs"])
            if "--set" in step["ipvs"]:
                LAST["timeouts"] = None
        elif "sysctl" in step:
            set_sysctl(step["sysctl"])
        elif "wait" in step:
            time.sleep(step["wait"])
        seen["out"] = fence.drain()
        if "settle" in step:
            time.sleep(step["settle"])
        seen["ip_vs"] = lines_of("ip_vs")
        seen["end"] = time.monotonic() - result["start"]
        seen["log"] = read_log(log)
        result["steps"].append(seen)
    result["connections"] = lines_of("ip_vs_conn")
    result["end"] = time.monotonic() - result["start"]
    if case.get("saved"):
        result["Ln"] = sh(["ipvsadm", "-Ln"])
        result["Lnc"] = sh(["ipvsadm", "-Lnc"])
        result["Sn"] = sh(["ipvsadm", "-Sn"])
        result["timeout"] = sh(["ipvsadm", "-Ln", "--timeout"])
    result["conntrack"] = sh(["conntrack", "-L"], check=False)
    result["later"] = time.monotonic() - result["start"]
    result["save"] = sh(["iptables-legacy-save", "-c"])
    if case.get("stats"):
        time.sleep(2.1)  # the estimator sums up every 2 seconds
        result["stats"] = sh(["ipvsadm", "-Ln", "--stats"])
    result["all"] = time.monotonic() - begun
    return result


def main(cases, destination):
    begun = time.monotonic()
    set_sysctl({"net.core.message_cost": 0})
    sockets = build()
    for path in Path("/proc/sys/net/ipv4/vs").iterdir():
        with contextlib.suppress(OSError):
            DEFAULTS["net.ipv4.vs." + path.name] = path.read_text().strip()
    for name in ("debug_level", "amemthresh"):
        DEFAULTS.pop("net.ipv4.vs." + name, None)
    fence = Fence(sockets)
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    os.lseek(log, 0, os.SEEK_END)
    time.sleep(0.3)
    fence.drain()
    with Path(destination).open("w") as out:
        for case in cases:
            try:
                result = run_case(case, fence, log)
            except (OSError, RuntimeError) as problem:
                result = {"name": case["name"], "error": str(problem)}
            out.write(json.dumps(result) + "\n")
    print(f"{len(cases)} cases in {time.monotonic() - begun:.1f} s", flush=True)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2])
