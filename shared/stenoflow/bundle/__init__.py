"""Model bundles: the card, the hashes, and finding and loading a folder. Nothing here runs a model or unpickles."""
