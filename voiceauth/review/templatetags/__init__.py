"""What the dashboard's templates can do beyond Django's."""
