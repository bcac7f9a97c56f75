"""Machines run through a transformer's weights, beside their interpreters."""
