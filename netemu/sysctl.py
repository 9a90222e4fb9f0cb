"""Kernel parameters of one namespace: what a snapshot says, else the kernel's default.

Kernel: Documentation/networking/ip-sysctl.rst, net/ipv4/devinet.c (conf), net/core/neighbour.c.

Keys are sysctl(8)'s dotted names; a dot inside a device's name is a slash, as sysctl prints it.
Device keys fall back to `default`, then to the built-in default.
"""

from __future__ import annotations

DEFAULTS: dict[str, int] = {
    "net.core.message_burst": 10,
    "net.core.message_cost": 5,
    "net.ipv4.ip_forward": 0,
    "net.ipv4.ip_default_ttl": 64,
    "net.ipv4.ip_no_pmtu_disc": 0,
    "net.ipv4.ip_forward_use_pmtu": 0,
    "net.ipv4.ip_forward_update_priority": 1,
    "net.ipv4.ip_early_demux": 1,
    "net.ipv4.tcp_early_demux": 1,
    "net.ipv4.fib_multipath_hash_policy": 0,
    "net.ipv4.fib_multipath_hash_fields": 7,
    "net.ipv4.fib_multipath_hash_seed": 0,
    "net.ipv4.fwmark_reflect": 0,
    "net.ipv4.icmp_echo_ignore_all": 0,
    "net.ipv4.icmp_echo_ignore_broadcasts": 1,
    "net.ipv4.icmp_ignore_bogus_error_responses": 1,
    "net.ipv4.icmp_errors_use_inbound_ifaddr": 0,
    "net.ipv4.icmp_ratelimit": 1000,
    "net.ipv4.icmp_ratemask": 6168,
    "net.ipv4.icmp_msgs_per_sec": 1000,
    "net.ipv4.icmp_msgs_burst": 50,
    "net.ipv4.ipfrag_time": 30,
    "net.ipv4.ipfrag_high_thresh": 4194304,
    "net.ipv4.ipfrag_max_dist": 64,
    "net.ipv4.tcp_ecn": 2,
    "net.ipv4.tcp_comp_sack_nr": 44,
    "net.ipv4.tcp_sack": 1,
    "net.ipv4.tcp_synack_retries": 5,
    "net.ipv4.tcp_timestamps": 1,
    "net.ipv4.tcp_window_scaling": 1,
    "net.ipv4.ip_unprivileged_port_start": 1024,
    "net.ipv4.vs.am_droprate": 10,
    "net.ipv4.vs.backup_only": 0,
    "net.ipv4.vs.cache_bypass": 0,
    "net.ipv4.vs.conn_reuse_mode": 1,
    "net.ipv4.vs.conntrack": 0,
    "net.ipv4.vs.drop_entry": 0,
    "net.ipv4.vs.drop_packet": 0,
    "net.ipv4.vs.expire_nodest_conn": 0,
    "net.ipv4.vs.expire_quiescent_template": 0,
    "net.ipv4.vs.ignore_tunneled": 0,
    "net.ipv4.vs.lblc_expiration": 86400,
    "net.ipv4.vs.lblcr_expiration": 86400,
    "net.ipv4.vs.nat_icmp_send": 0,
    "net.ipv4.vs.pmtu_disc": 1,
    "net.ipv4.vs.schedule_icmp": 0,
    "net.ipv4.vs.secure_tcp": 0,
    "net.ipv4.vs.sloppy_sctp": 0,
    "net.ipv4.vs.sloppy_tcp": 0,
    "net.ipv4.vs.snat_reroute": 1,
    "net.bridge.bridge-nf-call-iptables": 1,
    "net.bridge.bridge-nf-call-ip6tables": 1,
    "net.bridge.bridge-nf-call-arptables": 1,
    "net.bridge.bridge-nf-filter-vlan-tagged": 0,
    "net.bridge.bridge-nf-filter-pppoe-tagged": 0,
    "net.bridge.bridge-nf-pass-vlan-input-dev": 0,
    "net.netfilter.nf_conntrack_checksum": 1,
    "net.netfilter.nf_conntrack_acct": 0,
    "net.netfilter.nf_conntrack_timestamp": 0,
    "net.netfilter.nf_conntrack_log_invalid": 0,
    "net.netfilter.nf_conntrack_max": 262144,
    "net.netfilter.nf_conntrack_buckets": 262144,
    "net.netfilter.nf_conntrack_expect_max": 4096,
    "net.netfilter.nf_conntrack_tcp_be_liberal": 0,
    "net.netfilter.nf_conntrack_tcp_loose": 1,
    "net.netfilter.nf_conntrack_tcp_max_retrans": 3,
    "net.netfilter.nf_conntrack_tcp_ignore_invalid_rst": 0,
    "net.netfilter.nf_conntrack_generic_timeout": 600,
    "net.netfilter.nf_conntrack_gre_timeout": 30,
    "net.netfilter.nf_conntrack_gre_timeout_stream": 180,
    "net.netfilter.nf_conntrack_icmp_timeout": 30,
    "net.netfilter.nf_conntrack_sctp_timeout_closed": 10,
    "net.netfilter.nf_conntrack_sctp_timeout_cookie_wait": 3,
    "net.netfilter.nf_conntrack_sctp_timeout_cookie_echoed": 3,
    "net.netfilter.nf_conntrack_sctp_timeout_established": 210,
    "net.netfilter.nf_conntrack_sctp_timeout_shutdown_sent": 3,
    "net.netfilter.nf_conntrack_sctp_timeout_shutdown_recd": 3,
    "net.netfilter.nf_conntrack_sctp_timeout_shutdown_ack_sent": 3,
    "net.netfilter.nf_conntrack_sctp_timeout_heartbeat_sent": 30,
    "net.netfilter.nf_conntrack_dccp_timeout_request": 240,
    "net.netfilter.nf_conntrack_dccp_timeout_respond": 480,
    "net.netfilter.nf_conntrack_dccp_timeout_partopen": 480,
    "net.netfilter.nf_conntrack_dccp_timeout_open": 43200,
    "net.netfilter.nf_conntrack_dccp_timeout_closereq": 64,
    "net.netfilter.nf_conntrack_dccp_timeout_closing": 64,
    "net.netfilter.nf_conntrack_dccp_timeout_timewait": 240,
    "net.netfilter.nf_conntrack_udp_timeout": 30,
    "net.netfilter.nf_conntrack_udp_timeout_stream": 120,
    "net.netfilter.nf_conntrack_tcp_timeout_syn_sent": 120,
    "net.netfilter.nf_conntrack_tcp_timeout_syn_recv": 60,
    "net.netfilter.nf_conntrack_tcp_timeout_established": 432000,
    "net.netfilter.nf_conntrack_tcp_timeout_fin_wait": 120,
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait": 60,
    "net.netfilter.nf_conntrack_tcp_timeout_last_ack": 30,
    "net.netfilter.nf_conntrack_tcp_timeout_time_wait": 120,
    "net.netfilter.nf_conntrack_tcp_timeout_close": 10,
    "net.netfilter.nf_conntrack_tcp_timeout_max_retrans": 300,
    "net.netfilter.nf_conntrack_tcp_timeout_unacknowledged": 300,
}
"""Value of each parameter in a fresh namespace of Linux 6.18; those of DCCP are 6.1's."""

CONF_DEFAULTS: dict[str, int] = {
    "forwarding": 0,
    "accept_local": 0,
    "accept_redirects": 1,
    "accept_source_route": 0,
    "arp_accept": 0,
    "arp_announce": 0,
    "arp_evict_nocarrier": 1,
    "arp_filter": 0,
    "arp_ignore": 0,
    "arp_notify": 0,
    "bc_forwarding": 0,
    "disable_policy": 0,
    "drop_gratuitous_arp": 0,
    "drop_unicast_in_l2_multicast": 0,
    "ignore_routes_with_linkdown": 0,
    "log_martians": 0,
    "mc_forwarding": 0,
    "promote_secondaries": 0,
    "medium_id": 0,
    "proxy_arp": 0,
    "proxy_arp_pvlan": 0,
    "route_localnet": 0,
    "rp_filter": 0,
    "secure_redirects": 1,
    "send_redirects": 1,
    "shared_media": 1,
    "src_valid_mark": 0,
}
"""net.ipv4.conf.*.NAME of a fresh namespace."""

NEIGH_DEFAULTS: dict[str, int] = {
    "app_solicit": 0,
    "base_reachable_time_ms": 30000,
    "delay_first_probe_time": 5,
    "gc_stale_time": 60,
    "locktime": 100,
    "mcast_resolicit": 0,
    "mcast_solicit": 3,
    "proxy_delay": 80,
    "proxy_qlen": 64,
    "retrans_time_ms": 1000,
    "ucast_solicit": 3,
    "unres_qlen_bytes": 212992,
}
"""net.ipv4.neigh.*.NAME of a fresh namespace; locktime and proxy_delay in 1/100 s (USER_HZ)."""


ALIASES = {"net.nf_conntrack_max": "net.netfilter.nf_conntrack_max"}
"""Parameters of two names: the older one -> the one that is looked up."""


class Sysctl:
    """The parameters of one namespace. Unknown keys are kept, so that a snapshot loses nothing."""

    __slots__ = ("_cache", "values")

    def __init__(self, values: dict[str, str] | None = None) -> None:
        """Start from `sysctl -a` pairs."""
        self.values: dict[str, str] = dict(values or {})
        for alias, key in ALIASES.items():
            if alias in self.values:
                self.values.setdefault(key, self.values[alias])
        self._cache: dict[str, int] = {}

    def set(self, key: str, value: str) -> None:
        """Set one parameter, as `sysctl -w` does."""
        self.values[key] = value
        if key in ALIASES:
            self.values[ALIASES[key]] = value
        self._cache.clear()

    def get(self, key: str) -> int:
        """Return an integer parameter of `DEFAULTS`."""
        found = self._cache.get(key)
        if found is None:
            text = self.values.get(key)
            found = self._cache[key] = int(text) if text is not None else DEFAULTS[key]
        return found

    def conf(self, device: str, name: str) -> int:
        """Return net.ipv4.conf.DEVICE.NAME; `device` may be `all` or `default`."""
        return self._per_device("conf", device, name, CONF_DEFAULTS)

    def conf_or(self, device: str, name: str) -> bool:
        """Return whether `all` or the device has it on (IN_DEV_ORCONF)."""
        return bool(self.conf("all", name)) or bool(self.conf(device, name))

    def conf_max(self, device: str, name: str) -> int:
        """Return the larger of `all` and the device (IN_DEV_MAXCONF)."""
        return max(self.conf("all", name), self.conf(device, name))

    def conf_and(self, device: str, name: str) -> bool:
        """Return whether both `all` and the device have it on (IN_DEV_ANDCONF)."""
        return bool(self.conf("all", name)) and bool(self.conf(device, name))

    def neigh(self, device: str, name: str) -> int:
        """Return net.ipv4.neigh.DEVICE.NAME."""
        return self._per_device("neigh", device, name, NEIGH_DEFAULTS)

    def _per_device(self, group: str, device: str, name: str, defaults: dict[str, int]) -> int:
        key = f"net.ipv4.{group}.{device.replace('.', '/')}.{name}"
        found = self._cache.get(key)
        if found is None:
            found = self._cache[key] = self._lookup(group, device, name, key, defaults)
        return found

    def _lookup(
        self, group: str, device: str, name: str, key: str, defaults: dict[str, int]
    ) -> int:
        text = self.values.get(key)
        if text is None and name == "forwarding":
            text = self.values.get("net.ipv4.ip_forward")
        if text is None and (device, name) == ("all", "accept_redirects"):
            # Turning a host into a router turns it off (inet_forward_change).
            return int(not self.conf("all", "forwarding"))
        if text is None and device not in {"all", "default"}:
            text = self.values.get(f"net.ipv4.{group}.default.{name}")
        return int(text) if text is not None else defaults[name]
