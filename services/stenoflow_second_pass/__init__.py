"""The second pass: a model that hears each utterance as a whole, once it has ended (DESIGN 6a)."""
