"""The gateway: audio in over WebSockets, captions out; all that it holds can be rebuilt from Redis and the client."""
