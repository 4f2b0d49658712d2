"""The pure machine of one session: events in, effects out. No I/O, no clock, no chance."""
