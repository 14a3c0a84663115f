"""The composition root: settings, the wiring of every role, and the commands that start them."""
