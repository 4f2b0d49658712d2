"""Emissions in, captions out: incremental CTC prefix beam search with a word language model, and endpoints."""
