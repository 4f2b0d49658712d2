"""Speakers that send real speech at real pace, and the benchmarks that use them."""
