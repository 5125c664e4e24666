"""The user's code and environment as bytes: pickles and layers. Knows nothing of AWS."""
