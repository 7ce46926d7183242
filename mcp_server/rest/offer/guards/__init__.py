"""What the operator has fixed or hidden stays so: no name that a model chooses is read as one of those."""
