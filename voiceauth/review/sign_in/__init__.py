"""How staff sign in: a password, and a second factor where it is set up or required."""
