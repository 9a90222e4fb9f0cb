"""Connection tracking: which connection a packet belongs to and in which state that is.

`tuple` names one direction of a connection, `connection` is the entry, `table` holds the entries
of a namespace, `core` classifies a packet and confirms its entry, one file per protocol knows the
protocol's states, `text` reads and writes what conntrack(8) prints.

Decision: an entry is found through one dict keyed by (tuple, zone id), not through a hash table
with the kernel's siphash, whose key is drawn at boot. Price: the order of a bucket, which the
kernel shows in `conntrack -L`, is the order of creation here; `eviction` has the kernel's
buckets where they count, in a full table.
"""
