"""Bridges to other tools' packets: Scapy."""
