"""Sealing for age recipients, and signing: everything that touches a key."""
