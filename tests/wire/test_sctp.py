"""SCTP's checksum and INIT."""

from __future__ import annotations

from netemu.wire.sctp import build_sctp_init, crc32c


def test_crc32c_of_rfc_3720():
    """Appendix B.4 of RFC 3720."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


def test_init_is_what_scapy_builds():
    sctp = __import__("scapy.layers.sctp", fromlist=["SCTP"])
    theirs = bytes(
        sctp.SCTP(sport=5, dport=6)
        / sctp.SCTPChunkInit(init_tag=1, a_rwnd=106496, n_out_streams=1, n_in_streams=1, init_tsn=1)
    )
    assert build_sctp_init(src_port=5, dst_port=6) == theirs
