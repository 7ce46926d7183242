"""A call on the wire and back: values → request, answer → result; all pure."""
