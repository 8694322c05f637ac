"""Leaving the database as it was after migrating, once a test has committed rows."""

from django.db import connection, transaction

# What Django makes after migrating, and no test that commits changes.
KEPT = {"django_migrations", "django_content_type", "auth_permission", "auth_group", "auth_group_permissions"}
# The tables whose rows a trigger protects; only here may it step aside.
GUARDS = {
    "audit_auditevent": ("audit_no_change", "ENABLE ALWAYS"),
    "enrollment_consenttext": ("consent_text_no_change", "ENABLE"),
}


def empty_tables() -> None:
    """Delete all rows but those that migrating makes. Waits until nobody else writes."""
    tables = sorted(set(connection.introspection.django_table_names(only_existing=True, include_views=False)) - KEPT)
    statements = [f"LOCK TABLE {', '.join(tables)} IN SHARE ROW EXCLUSIVE MODE"]
    statements += [f"ALTER TABLE {table} DISABLE TRIGGER {name}" for table, (name, _) in GUARDS.items()]
    for table in tables:
        condition = " WHERE NOT is_default" if table == "screening_watchlist" else ""
        statements.append(f"DELETE FROM {table}{condition}")
    statements.append("SET CONSTRAINTS ALL IMMEDIATE")  # or a table with checks to come could not be altered
    statements += [f"ALTER TABLE {table} {enable} TRIGGER {name}" for table, (name, enable) in GUARDS.items()]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(";".join(statements))
