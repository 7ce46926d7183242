"""Every OpenAPI document that there is to be had, through the import and out on the wire. Read job.py first."""
