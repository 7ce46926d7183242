"""The proof by load and fault: three servers under an open-model load, faults on a schedule, verdicts. `make operate`."""
