"""A model for each package that settings are for, with what in it does not go together."""
