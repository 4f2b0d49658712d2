"""HTTP: sessions, recordings, tickets, figures, and typed errors as answers."""
