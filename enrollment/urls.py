"""Paths of customers, consent and enrollment."""

from django.urls import path, register_converter

from enrollment import apis, audio_export_apis


class CustomerIdConverter:
    """The bank's identifier, as ``models.customer_id_validator`` has it."""

    regex = r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}"

    def to_python(self, value: str) -> str:
        """Return the identifier as it is."""
        return value

    def to_url(self, value: str) -> str:
        """Return the identifier as it is: all its characters may stand in a path."""
        return value


register_converter(CustomerIdConverter, "customer_id")

urlpatterns = [
    path("customers", apis.CustomerList.as_view(), name="customers"),
    path("customers/<customer_id:customer_id>", apis.CustomerDetail.as_view(), name="customer"),
    path("customers/<customer_id:customer_id>/consent", apis.ConsentDetail.as_view(), name="consent"),
    path("consent-texts", apis.ConsentTextList.as_view(), name="consent-texts"),
    path("consent-texts/<str:version>", apis.ConsentTextDetail.as_view(), name="consent-text"),
    path("customers/<customer_id:customer_id>/enrollments", apis.EnrollmentList.as_view(), name="enrollments"),
    path(
        "customers/<customer_id:customer_id>/enrollments/<uuid:sample_id>",
        apis.EnrollmentDetail.as_view(),
        name="enrollment",
    ),
    path(
        "customers/<customer_id:customer_id>/enrollments/<uuid:sample_id>/approve",
        apis.EnrollmentApproval.as_view(),
        name="enrollment-approval",
    ),
    path("held-recordings", apis.HeldRecordingList.as_view(), name="held-recordings"),
    path("customers/<customer_id:customer_id>/lock", apis.CustomerLock.as_view(), name="customer-lock"),
    path("customers/<customer_id:customer_id>/unlock", apis.CustomerUnlock.as_view(), name="customer-unlock"),
    path(
        "customers/<customer_id:customer_id>/audio-exports",
        audio_export_apis.AudioExports.as_view(),
        name="audio-exports",
    ),
    path(
        "customers/<customer_id:customer_id>/audio-exports/<uuid:approval_id>/download",
        audio_export_apis.AudioExportDownload.as_view(),
        name="audio-export-download",
    ),
]
