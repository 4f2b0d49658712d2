"""The pages of the reference, each made from the code that it describes. Run by ``docs/make_reference.py``."""
