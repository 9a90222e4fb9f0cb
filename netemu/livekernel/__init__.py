"""The judge: runs the same node and the same frames through the live Linux kernel.

A `Case` is a node (`NodeSpec`) and the frames that enter it; a `Result` is all that can be seen
afterwards: frames on every port, kernel log, counters, connections, neighbours, FDB. `runner`
gets a result from the kernel, `emulator` one from netemu, `compare` names the first difference,
`generate` makes random cases, `minimise` shrinks a case that differs, `verify` ties it together.

Decisions a reader may question:

* **Namespaces have no names.** They are made with unshare(2) and live as long as a file
  descriptor, so whatever happens to the program, the kernel removes every trace. A case costs
  about 40 ms that way, and nothing can be left behind.
* **One helper namespace per case holds the far ends of all ports**, and one packet socket there
  sends and hears everything, in order. veth hands frames over in the sender's own context, thus
  when send(2) returns the kernel is done with the frame (but for timers).
* **The kernel log is one ring for all namespaces.** One case runs at a time (a lock file says so),
  lines are read between two positions, and lines that name other devices are left out.
"""
