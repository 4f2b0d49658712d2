"""The stage interface, the one worker loop over it, and the same stages in one process."""
