"""Paths of calls, decisions and the voices on watchlists."""

from django.urls import path

from voiceauth.verification import apis, audio_export_apis, fraudster_apis
from voiceauth.verification.streams import apis as stream_apis

urlpatterns = [
    path("verify", apis.Verify.as_view(), name="verify"),
    path("identify", apis.Identify.as_view(), name="identify"),
    path("streams", stream_apis.StreamList.as_view(), name="streams"),
    path("streams/<uuid:stream_id>", stream_apis.StreamDetail.as_view(), name="stream"),
    path("decisions", apis.DecisionList.as_view(), name="decisions"),
    path("decisions/<uuid:decision_id>", apis.DecisionDetail.as_view(), name="decision"),
    path(
        "decisions/<uuid:decision_id>/confirmation", apis.DecisionConfirmation.as_view(), name="decision-confirmation"
    ),
    path(
        "decisions/<uuid:decision_id>/audio-exports",
        audio_export_apis.CallExports.as_view(),
        name="call-exports",
    ),
    path(
        "decisions/<uuid:decision_id>/audio-exports/<uuid:approval_id>/download",
        audio_export_apis.CallExportDownload.as_view(),
        name="call-export-download",
    ),
    path(
        "watchlists/<uuid:watchlist_id>/fraudsters", fraudster_apis.FraudsterList.as_view(), name="watchlist-fraudsters"
    ),
]
