"""Stenoflow's trainer: makes the acoustic model and the language model of a bundle, and measures them."""
