"""The page on which staff try the service with their own voice."""
