from django.urls import path

from voiceauth.retraining import apis, request_apis

urlpatterns = [
    path("training-runs", request_apis.TrainingRuns.as_view(), name="training-runs"),
    path("training-runs/<uuid:run_id>", apis.TrainingRunDetail.as_view()),
    path("training-runs/<uuid:run_id>/cancel", apis.TrainingRunCancel.as_view()),
    path("models", apis.ModelList.as_view()),
    path("models/<str:version>", apis.ModelDetail.as_view()),
    path("models/<str:version>/promote", request_apis.PromoteModel.as_view(), name="promote-model"),
]
