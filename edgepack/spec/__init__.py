"""Frozen records and their strict decoding: signature, target, recipe, manifest.

They come from files that people write, so an unknown key or a wrong type is an error that names
the key and offers the nearest valid one.
"""
