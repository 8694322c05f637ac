"""Where everything is mounted."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from voiceauth.platform import health
from voiceauth.review import retention

api = [
    path("", include("enrollment.urls")),
    path("", include("enrollment.batches.urls")),
    path("", include("voiceauth.verification.urls")),
    path("", include("voiceauth.screening.urls")),
    path("", include("voiceauth.retraining.urls")),
    path("", include("voiceauth.policies.urls")),
    path("", include("voiceauth.platform.approvals.urls")),
    path("", include("voiceauth.platform.api.urls")),
    path("", include("voiceauth.platform.erasure.urls")),
]

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("healthz", health.Live.as_view(), name="healthz"),
    path("readyz", health.Ready.as_view(), name="readyz"),
    path("api/v1/", include(api)),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("admin/", include("voiceauth.review.sign_in.urls")),
    path("admin/", admin.site.urls),
    path("retention", retention.show, name="retention"),
    path("try", include("voiceauth.review.trial.urls")),
]

handler400 = "voiceauth.platform.api.exceptions.bad_request"
handler403 = "voiceauth.platform.api.exceptions.forbidden"
handler404 = "voiceauth.platform.api.exceptions.not_found"
handler500 = "voiceauth.platform.api.exceptions.server_error"
