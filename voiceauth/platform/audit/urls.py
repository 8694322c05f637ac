from django.urls import path

from voiceauth.platform.audit import apis

urlpatterns = [path("audit-events", apis.AuditEventList.as_view(), name="audit-events")]
