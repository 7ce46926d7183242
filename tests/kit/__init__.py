"""What tests share: a running stack, tokens good and broken, raw messages, schema checks."""
