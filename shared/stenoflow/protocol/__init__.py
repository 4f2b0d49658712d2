"""The native wire protocol, version 1: messages, audio frames, and the client's side as a sans-I/O machine."""
