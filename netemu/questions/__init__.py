"""Questions about all packets at once: what differs, who reaches whom, why was this one dropped.

The analysis (netemu/analysis) says which packets; the engine is asked about an example of each
class, and what it does not confirm is not claimed. A class speaks of packets that hosts send each
other: martian, broadcast and multicast ones only where it says so.
"""
