"""The shell round session machines: sockets on one side, logs on the other."""
