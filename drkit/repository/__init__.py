"""Bytes in a store: sessions, packs, manifests, expiry; never hears of PostgreSQL."""
