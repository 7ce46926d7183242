"""The wire's values, a file per chapter of the specification."""
