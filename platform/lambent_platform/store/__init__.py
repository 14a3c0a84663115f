"""Redis and the object store: the only code that knows the name of a key."""
