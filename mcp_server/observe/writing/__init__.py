"""Lines on their way out: a writer thread with a bounded queue (`writer.py`), and the outlets that it writes to."""
