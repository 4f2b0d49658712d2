"""Rounds of fine-tuning over several sites, as a Flower app (https://flower.ai)."""
