"""The first look at every connection: what is called thousands of times a second is answered here, in a few calls.

aiohttp spends more on a request than the rest of a warm call's way through the gateway costs. So requests that are
plain in every respect and for a hot operation are read and answered by `connection.py`; a connection that brings
anything else is handed to aiohttp, with what it has sent, and stays there.
"""
