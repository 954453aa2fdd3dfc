"""Speech to speech in one model, behind the same session, floor, journal and files as the three stages.

    Hearing  <──ears───┐                      ┌── one socket of the vendor
    Speaking <─replies─┴── Duplex ── Talk ────┘
                             └── the three stages, when the vendor fails

The floor still decides who speaks; the model only hears what it is given and answers when it is asked to.
"""

from pipeline.duplex.duplex import Duplex, Patience, Terms
from pipeline.duplex.ears import UNWRITTEN, Ears, Utterance

__all__ = ["UNWRITTEN", "Duplex", "Ears", "Patience", "Terms", "Utterance"]
