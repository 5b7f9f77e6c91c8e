"""For a user's own program: send frames to a running daemon, receive what it makes of them."""
