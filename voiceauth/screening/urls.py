"""Paths of watchlists, fraudsters and review cases."""

from django.urls import path

from voiceauth.screening import apis

urlpatterns = [
    path("watchlists", apis.WatchlistList.as_view(), name="watchlists"),
    path("watchlists/<uuid:watchlist_id>", apis.WatchlistDetail.as_view(), name="watchlist"),
    path("fraudsters/<uuid:fraudster_id>", apis.FraudsterDetail.as_view(), name="fraudster"),
    path("cases", apis.CaseList.as_view(), name="cases"),
    path("cases/<int:number>", apis.CaseDetail.as_view(), name="case"),
    path("cases/<int:number>/assign", apis.CaseAssign.as_view(), name="case-assign"),
    path("cases/<int:number>/comment", apis.CaseComments.as_view(), name="case-comment"),
    path("cases/<int:number>/close", apis.CaseClose.as_view(), name="case-close"),
    path("cases/<int:number>/reopen", apis.CaseReopen.as_view(), name="case-reopen"),
]
