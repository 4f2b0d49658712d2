"""The features stage: a client's sound in, segments of speech as log-mel frames out."""
