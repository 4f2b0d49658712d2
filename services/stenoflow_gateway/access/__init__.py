"""Who may come in: tokens, tickets, tenants and their limits."""
