"""Weights of one network in another: what comes from where (``plan``), and the doing of it (``remap``)."""
