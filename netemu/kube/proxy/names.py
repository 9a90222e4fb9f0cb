"""Names of kube-proxy's chains.

Source: pkg/proxy/iptables/proxier.go, portProtoHash and its callers.
"""

from __future__ import annotations

import base64
import hashlib

SERVICE_PREFIXES = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-XLB-")
ENDPOINT_PREFIX = "KUBE-SEP-"


def port_proto_hash(port_name: str, protocol: str) -> str:
    """Return the hash in the names of a Service port's chains.

    >>> port_proto_hash("ns1/svc1:p80", "tcp")
    'XPGD46QRK7WJZT7O'
    """
    return _hash(port_name + protocol)


def endpoint_hash(port_name: str, protocol: str, endpoint: str) -> str:
    """Return the hash in the name of an endpoint's chain.

    >>> endpoint_hash("ns1/svc1:p80", "tcp", "10.180.0.1:80")
    'SXIVWICOYRO3J4NJ'
    """
    return _hash(port_name + protocol + endpoint)


def _hash(text: str) -> str:
    return base64.b32encode(hashlib.sha256(text.encode()).digest()[:10]).decode()
