"""Where words lie in the sound: forced alignment of a text against a bundle's emissions."""
