"""Node snapshots: what a Linux node said about itself, read into values and written again.

A snapshot is a directory in which every file holds the untouched output of one command, named by
the command line as `sos report` names its files. So one reader serves snapshots, sosreports and
directories that somebody filled by hand, and each file can be checked with the tool it came from.

* `items` is the single table: which commands, under which names, what the lack of each disables.
  The reader, the collector, the POSIX sh script and the doctor all follow it.
* `source` opens directories and archives as a read-only tree.
* `read` turns a tree into a `NodeSpec`; `read_*` know one tool's output each.
* `listing` turns `iptables -nvL`, all that a sosreport has of a host's rules, into save text.
* `bare` makes a node of a mere iptables-save text.
* `write` is the reverse of `read`: the property test `read(write(spec)) == spec` holds both.
* `take`, `script` and `redact` collect a snapshot on a live node; `check` is the doctor.

Decisions: JSON is decoded into declared structs (msgspec), so a wrong type is reported by path and
then by line and column instead of failing somewhere later. The text forms of the same commands are
second choice: they are recognised by content (`[` opens JSON), not by name. What is missing never
raises as long as a node can be made; it becomes one sentence in `NodeSpec.notes`. Ambiguity about
which rules the kernel evaluates does raise, because either guess may be wrong.
"""
