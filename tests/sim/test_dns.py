"""The little DNS of labs; the bytes are checked by RFC 1035 section 4."""

from __future__ import annotations

from netemu.sim.dns import dns_answer, dns_query, dns_result

NAMES = "web=10.0.0.7 db.example=10.0.0.8"


def test_a_name_is_found() -> None:
    query = dns_query("db.example", 0x1234)
    answer = dns_answer(NAMES, query)
    assert answer is not None
    assert answer[:12].hex() == "123481800001000100000000"
    assert answer[12 : len(query)] == query[12:]
    assert answer[len(query) :].hex() == "c00c000100010000001e00040a000008"
    assert dns_result(answer) == "10.0.0.8"


def test_other_names_do_not_exist() -> None:
    answer = dns_answer(NAMES, dns_query("mail", 1))
    assert answer is not None
    assert answer[2:4].hex() == "8183"
    assert dns_result(answer) == "NXDOMAIN"


def test_what_is_no_query_is_not_answered() -> None:
    answer = dns_answer(NAMES, dns_query("web", 1))
    assert answer is not None
    for data in (b"", b"short", answer, dns_query("web", 1)[:-3]):
        assert dns_answer(NAMES, data) is None
