"""The write path: a directory (or file) that training wrote goes to a bucket and comes back bit for bit.

A push hashes, uploads to keys that no published manifest names, and writes the manifest last; a pull builds what the
manifest says beside its destination and lets it appear by one rename. All that a run knows of itself stands in its
bucket.
"""
