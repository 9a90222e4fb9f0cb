"""Bytes on the wire: views with named fields, builders, checksums, addresses, captures.

A view wraps the packet's own bytearray and reads and writes fields in place; nothing is copied
and no object tree is built, since inside the engine a packet is bytes. Scapy packets exist at the
edge only (`interop/scapy.py`). Price: a field costs one property call.
"""
