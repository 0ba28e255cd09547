"""Protocols of evaluation by name, one file each; a new one is a new file and a line here."""

from __future__ import annotations

from shared.errors import UserError
from train.protocols import bair, demo, dvdm, lfdm, reconstruction
from train.protocols.base import Protocol

PROTOCOLS: dict[str, Protocol] = {
    module.PROTOCOL.name: module.PROTOCOL for module in (dvdm, lfdm, bair, reconstruction, demo)
}

__all__ = ["PROTOCOLS", "Protocol", "protocol_named"]


def protocol_named(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        UserError: there is none.
    """
    if name not in PROTOCOLS:
        raise UserError(f"--protocol {name}: there is none; choose from {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
