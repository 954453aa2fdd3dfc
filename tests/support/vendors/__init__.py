"""Vendors on a local port: each module speaks one vendor's documented wire, for its SDK or our own client.

A fake consumes what it is sent (real PCM, real prompts) and is scripted by `Trouble`s, one per request or
connection; without any it does what the vendor does on a good day.
"""
