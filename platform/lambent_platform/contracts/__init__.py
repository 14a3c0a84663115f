"""What the roles say to each other: names, limits, errors and messages. Pure: no I/O, no clock, no settings."""
