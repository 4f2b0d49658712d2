"""Text as it is compared: plain words."""
