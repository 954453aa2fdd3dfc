"""Packages that cannot be talked to here, standing in for themselves on `sys.path`."""
