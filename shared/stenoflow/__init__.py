"""What two or more of Stenoflow's services share: logs, claims, protocol, bundles and the one worker loop."""

__version__ = "0.1.0"
