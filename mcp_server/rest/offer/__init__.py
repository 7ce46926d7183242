"""`Document` → what is offered: which operations, under which names, with which arguments, schemas and scopes."""
