"""`netemu ask`: exit codes and output."""

from __future__ import annotations

import json


def test_an_answer_as_asked_exits_with_0(netemu, rules):
    addr = ("--addr", "cni0=10.244.1.1/24")
    done = netemu("ask", rules, "reach tcp any > 10.96.0.10:80 dnat 10.244.1.6:8080", *addr)
    assert done.code == 0
    assert done.out.startswith("yes\n  tcp any > 10.96.0.10:80 in any\n")
    assert netemu("ask", rules, "never", "udp any > 10.244.1.9", *addr).code == 0
    assert netemu("ask", rules, "never tcp any > 10.244.1.0/24", *addr).code == 1


def test_what_is_wrong_behind_matrix_has_its_column(netemu, rules):
    done = netemu("ask", rules, "matrix tcp")
    assert done.code == 3
    assert done.err.startswith("<question>:1:11: the question ends where the source should be")


def test_json_and_matrix(netemu, rules):
    addr = ("--addr", "cni0=10.244.1.1/24")
    done = netemu("ask", rules, "reach udp any > 10.244.1.9 in eth0", "--json", *addr)
    assert (done.code, json.loads(done.out)["answer"]) == (1, False)
    done = netemu("ask", rules, "matrix tcp any > any", "--json", *addr)
    cells = {
        (cell["from"], cell["to"]): cell["services"] for cell in json.loads(done.out)["matrix"]
    }
    assert cells["eth0 (anywhere)", "cni0 (10.244.1.0/24)"] == ["tcp"]


def test_a_question_that_cannot_be_read_exits_with_3(netemu, rules):
    done = netemu("ask", rules, "reach tcp any > any:")
    assert done.code == 3
    assert "<question>:1:" in done.err
