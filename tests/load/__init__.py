"""`make load`: what one server carries, in absolute figures, against due times."""
