"""What all wires share."""

from typing import Any

RATES = (8000, 16000, 24000, 48000)
"""Samples a second that sound may have, either way."""

Outgoing = dict[str, Any]
"""The body of an ASGI `websocket.send`."""
