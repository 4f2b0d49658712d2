"""Models that read a whole utterance, behind one port; `choice` makes one from its name."""
