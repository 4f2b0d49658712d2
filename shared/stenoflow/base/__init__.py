"""Positions, identifiers, the clock port and the error tree. Reaches nothing else of Stenoflow."""
