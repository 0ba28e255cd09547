"""What `make demo` shows: one generated clip a label, of people nobody trained on."""

from train.protocols.base import Protocol

PROTOCOL = Protocol(
    name="demo",
    follows="no paper: one clip of each label, to look at; too few to compare systems",
    count=48,
    start="labels",
)
