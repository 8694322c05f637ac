"""Versions of the policy. The highest number is in force; without any, the settings' defaults are (number 0)."""

from django.db import models


class PolicyVersion(models.Model):
    """One version of the policy. A row is never changed."""

    number = models.PositiveIntegerField(primary_key=True)
    content = models.JSONField()  # what departs from the defaults, as ``policies.document`` reads it
    reason = models.CharField(max_length=500)
    created_by = models.CharField(max_length=128)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"policy {self.number}"
