"""Preparation of photos with their tracking into a data set (method notes, section 4: SHHQ-HS)."""
