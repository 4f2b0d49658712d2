"""The acoustic stage: features in, log-probabilities of tokens out, at the positions of the sound."""
