"""Secret managers: where settings are fetched from that no file and no environment has."""
