"""Stands in for the package `livekit` 1.2."""
