from django.urls import path

from . import apis

urlpatterns = [path("audit-events", apis.AuditEventList.as_view(), name="audit-events")]
