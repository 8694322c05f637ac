"""Paths of batch enrollments."""

from django.urls import path

from enrollment.batches import apis

urlpatterns = [
    path("batch-enrollments", apis.BatchList.as_view(), name="batch-enrollments"),
    path("batch-enrollments/<uuid:batch_id>", apis.BatchDetail.as_view(), name="batch-enrollment"),
    path("batch-enrollments/<uuid:batch_id>/cancel", apis.BatchCancel.as_view(), name="batch-cancel"),
    path("batch-enrollments/<uuid:batch_id>/results", apis.BatchResults.as_view(), name="batch-results"),
]
