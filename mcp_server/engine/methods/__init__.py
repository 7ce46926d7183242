"""A file per chapter of the specification: what each method does once it is admitted."""
