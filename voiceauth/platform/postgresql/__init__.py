"""Django's backend for PostgreSQL, made ready for a failover: the settings name it as ``ENGINE``."""
