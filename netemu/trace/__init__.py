"""Renderers of events: the text for eyes, JSON, kernel log lines, pcapng, HTML.

They subscribe to `netemu.events` and never look at the engine.
"""
