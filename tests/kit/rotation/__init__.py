"""Every secret of every place, rotated while calls go on: one server, all managers at once, and who calls it."""
