"""Lambent for people: the client and the `lambent` command."""
