"""``stenoflow doctor``: what is wrong with a machine or a deployment, and what to do. It changes nothing."""
