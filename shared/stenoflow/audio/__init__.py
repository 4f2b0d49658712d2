"""Sound: in files (what needs that has soundfile and soxr among its requirements), and the mel bands it is heard in."""
