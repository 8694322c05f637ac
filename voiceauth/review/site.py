"""The review site: the Django admin with our header, our index and our sign-in."""

from django.contrib import admin
from django.contrib.admin.apps import AdminConfig


class ReviewSite(admin.AdminSite):
    site_header = "voiceauth"
    site_title = "voiceauth"
    index_title = "Overview"


class ReviewAdminConfig(AdminConfig):
    default_site = "voiceauth.review.site.ReviewSite"
