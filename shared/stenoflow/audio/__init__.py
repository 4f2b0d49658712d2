"""Sound that lies in files. What needs it has soundfile and soxr among its requirements."""
