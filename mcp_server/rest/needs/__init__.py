"""What a call needs of its caller beyond what a tool declares: found by its path, or told by the API's refusal."""
