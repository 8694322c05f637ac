"""Settings, read from the environment with safe defaults. ``docs/operations.md`` lists every name."""

import hashlib
import os
from pathlib import Path

from voiceauth import __version__
from voiceauth.platform import env, logs

BASE_DIR = Path(__file__).resolve().parent.parent
STATE_DIR = Path(env.text("VOICEAUTH_STATE_DIR", str(BASE_DIR / "var"))).resolve()
SECRETS_DIR = STATE_DIR / "secrets"

VERSION = __version__  # of the OpenAPI document, /healthz and our calls to other services

DEBUG = env.boolean("VOICEAUTH_DEBUG", False)
SECRET_KEY = env.secret("VOICEAUTH_SECRET_KEY", SECRETS_DIR)

# --- master keys: a key-management service, secrets in the environment, or files, of which the first is made by itself
VOICEAUTH_MASTER_KEY = env.text("VOICEAUTH_MASTER_KEY")
# "id:secret,id:secret", the first is current; VOICEAUTH_MASTER_KEY is then a former one.
VOICEAUTH_MASTER_KEYS = env.words("VOICEAUTH_MASTER_KEYS")
VOICEAUTH_MASTER_KEYS_DIR = Path(env.text("VOICEAUTH_MASTER_KEYS_DIR", str(SECRETS_DIR))).resolve()
# The transit engine of HashiCorp Vault or OpenBao, like https://vault.bank.example:8200/v1/transit
VOICEAUTH_TRANSIT_URL = env.text("VOICEAUTH_TRANSIT_URL")
VOICEAUTH_TRANSIT_KEY = env.text("VOICEAUTH_TRANSIT_KEY", "voiceauth")
VOICEAUTH_TRANSIT_TOKEN = env.text("VOICEAUTH_TRANSIT_TOKEN")

# --- who may reach us -------------------------------------------------------------------------
ALLOWED_HOSTS = env.words("VOICEAUTH_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.words("VOICEAUTH_TRUSTED_ORIGINS")
# Behind a TLS proxy: set it, and cookies and redirects become HTTPS-only.
VOICEAUTH_TLS = env.boolean("VOICEAUTH_TLS", False)
# How many proxies in front of us append to X-Forwarded-For; 0 trusts none of it.
VOICEAUTH_TRUSTED_PROXIES = env.integer("VOICEAUTH_TRUSTED_PROXIES", 0, minimum=0, maximum=5)
if VOICEAUTH_TLS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    # Whether browsers preload a domain is for its owner to ask for, not for one service on it.
    SILENCED_SYSTEM_CHECKS = ["security.W021"]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = VOICEAUTH_TLS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Strict"  # "Lax" with an identity provider, below
SESSION_COOKIE_AGE = 8 * 3600
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"

INSTALLED_APPS = [
    "voiceauth.review.site.ReviewAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "corsheaders",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "voiceauth.platform",
    "voiceauth.platform.api",
    "voiceauth.platform.audit",
    "voiceauth.platform.vault",
    "voiceauth.platform.approvals",
    "voiceauth.platform.jobs",
    "voiceauth.platform.erasure",
    "voiceauth.platform.webhooks",
    "mltraining",
    "voiceauth.policies",
    "voiceauth.screening",
    "enrollment",
    "enrollment.batches",
    "voiceauth.verification",
    "voiceauth.retraining",
    "voiceauth.review",
    "voiceauth.review.sign_in",
    "voiceauth.launcher",
    "voiceauth.demo",
    "voiceauth.benchmarks",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "voiceauth.platform.api.middleware.RequestContextMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "voiceauth.urls"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "voiceauth" / "review" / "templates"],  # before the admin's own
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# --- database and queue -----------------------------------------------------------------------
DATABASES = {"default": env.database("DATABASE_URL")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.text("REDIS_URL", "redis://127.0.0.1:6379/0")
CELERY_BROKER_URL = REDIS_URL
CELERY_RESULT_BACKEND = REDIS_URL
CELERY_RESULT_EXPIRES = 60
CELERY_TASK_SERIALIZER = CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_DEFAULT_QUEUE = "maintenance"
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_PROC_ALIVE_TIMEOUT = 60.0  # seconds for a process to start, on a machine that is busy
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_timeout": 5, "socket_connect_timeout": 2}
CELERY_TASK_ROUTES = {
    "retraining.run_training": {"queue": "training"},
    "retraining.run_promotion": {"queue": "training"},
    "retraining.run_recalibration": {"queue": "training"},
    "retraining.sweep_training_data": {"queue": "training"},
    "erasure.run": {"queue": "training"},  # the training worker may write wherever recordings and their copies lie
    "batches.run": {"queue": "training"},  # it asks the scoring workers: on their own queues it could wait for itself
}
# Cron-like: "minute hour day-of-month month day-of-week"; empty switches the scheduled retrain off.
VOICEAUTH_RETRAIN_SCHEDULE = env.text("VOICEAUTH_RETRAIN_SCHEDULE", "0 2 * * 0")
CELERY_BEAT_SCHEDULE = {
    "recover-jobs": {"task": "jobs.recover", "schedule": 15.0},
    # For the training worker, which may be busy for hours: what it did not get to in time is dropped.
    "sweep-training-data": {"task": "retraining.sweep_training_data", "schedule": 300.0, "options": {"expires": 300}},
    "expire-fraudsters": {"task": "screening.expire_fraudsters", "schedule": 3600.0},
    "forget-recent-voices": {"task": "screening.forget_recent", "schedule": 300.0},
    "expire-unused": {"task": "enrollment.expire_unused", "schedule": 3600.0},
    "forget-voiceprint-changes": {"task": "enrollment.forget_changes", "schedule": 3600.0},
    "expire-approvals": {"task": "approvals.expire", "schedule": 60.0},
    "purge-expired": {"task": "verification.purge_expired", "schedule": 3600.0},
    "watch-drift": {"task": "verification.watch_drift", "schedule": 3600.0},  # it makes one report a day
    "send-webhooks": {"task": "webhooks.sweep", "schedule": 10.0, "options": {"expires": 10}},
    "forget-trials": {"task": "review.forget_trials", "schedule": 3600.0},
    "sweep-audio": {"task": "platform.sweep_audio", "schedule": 3600.0},
}
if VOICEAUTH_RETRAIN_SCHEDULE:
    CELERY_BEAT_SCHEDULE["retrain"] = {
        "task": "retraining.scheduled_retrain",
        "schedule": env.crontab("VOICEAUTH_RETRAIN_SCHEDULE", VOICEAUTH_RETRAIN_SCHEDULE),
    }

# --- policy -----------------------------------------------------------------------------------
VOICEAUTH_MIN_ENROLLMENT_SPEECH_SECONDS = env.number(
    "VOICEAUTH_MIN_ENROLLMENT_SPEECH_SECONDS", 20, minimum=1, maximum=600
)
VOICEAUTH_MIN_VERIFICATION_SPEECH_SECONDS = env.number(
    "VOICEAUTH_MIN_VERIFICATION_SPEECH_SECONDS", 1, minimum=0.2, maximum=60
)
VOICEAUTH_MIN_SAMPLE_SPEECH_SECONDS = env.number("VOICEAUTH_MIN_SAMPLE_SPEECH_SECONDS", 1, minimum=0.2, maximum=60)
VOICEAUTH_MIN_SNR_DB = env.number("VOICEAUTH_MIN_SNR_DB", 5, minimum=-20, maximum=60)
VOICEAUTH_MAX_CLIPPING_RATIO = env.number("VOICEAUTH_MAX_CLIPPING_RATIO", 0.05, minimum=0, maximum=1)
VOICEAUTH_SCORING_DEADLINE_SECONDS = env.number("VOICEAUTH_SCORING_DEADLINE_SECONDS", 2, minimum=0.1, maximum=30)
# Enrollment takes up to two minutes of audio, so it is given longer.
VOICEAUTH_ENROLLMENT_DEADLINE_SECONDS = env.number("VOICEAUTH_ENROLLMENT_DEADLINE_SECONDS", 15, minimum=0.1, maximum=60)
# BIPA §15(a): a voice that was not used for so long is destroyed.
VOICEAUTH_EXPIRE_UNUSED_DAYS = env.integer("VOICEAUTH_EXPIRE_UNUSED_DAYS", 1095, minimum=1, maximum=3650)
# A consent names a text that is stored: POST /consent-texts.
VOICEAUTH_REQUIRE_CONSENT_TEXT = env.boolean("VOICEAUTH_REQUIRE_CONSENT_TEXT", False)
VOICEAUTH_KEEP_CALL_AUDIO_DAYS = env.integer("VOICEAUTH_KEEP_CALL_AUDIO_DAYS", 30, minimum=0, maximum=3650)
VOICEAUTH_KEEP_BATCH_RESULTS_DAYS = env.integer("VOICEAUTH_KEEP_BATCH_RESULTS_DAYS", 90, minimum=1, maximum=3650)
# From which natural-log likelihood ratio a call is a fraudster's voice; ln of the number of fraudsters is added.
VOICEAUTH_WATCHLIST_THRESHOLD = env.number("VOICEAUTH_WATCHLIST_THRESHOLD", 3, minimum=-20, maximum=100)
VOICEAUTH_KEEP_FRAUDSTERS_DAYS = env.integer("VOICEAUTH_KEEP_FRAUDSTERS_DAYS", 1095, minimum=1, maximum=3650)
# One voice that claims so many customers within so many hours is suspicious; 0 customers: not looked for.
VOICEAUTH_VELOCITY_CUSTOMERS = env.integer("VOICEAUTH_VELOCITY_CUSTOMERS", 3, minimum=0, maximum=100)
VOICEAUTH_VELOCITY_THRESHOLD = env.number("VOICEAUTH_VELOCITY_THRESHOLD", 2, minimum=-20, maximum=100)
VOICEAUTH_VELOCITY_HOURS = env.integer("VOICEAUTH_VELOCITY_HOURS", 24, minimum=1, maximum=720)
VOICEAUTH_VELOCITY_MAX_CALLS = env.integer("VOICEAUTH_VELOCITY_MAX_CALLS", 20_000, minimum=1, maximum=1_000_000)
VOICEAUTH_MAX_UPLOAD_BYTES = 10 * 1024 * 1024
# To send a request's headers, and how long a connection is kept for the next request.
VOICEAUTH_HEADER_SECONDS = env.number("VOICEAUTH_HEADER_SECONDS", 20, minimum=0.1, maximum=600)
VOICEAUTH_UPLOAD_SECONDS = env.number("VOICEAUTH_UPLOAD_SECONDS", 60, minimum=0.1, maximum=600)
# From SIGTERM until a web process takes no more connections: what stands before it has to hear of it.
VOICEAUTH_DRAIN_SECONDS = env.number("VOICEAUTH_DRAIN_SECONDS", 5, minimum=0, maximum=600)
VOICEAUTH_MAX_AUDIO_SECONDS = 120
VOICEAUTH_STREAMS = env.integer("VOICEAUTH_STREAMS", 200, minimum=0, maximum=4000)  # of each web process at once
# Added to the recipe of every retrain, for example "training.epochs=15,training.batch_size=16".
VOICEAUTH_TRAINING_OVERRIDES = env.words("VOICEAUTH_TRAINING_OVERRIDES")
VOICEAUTH_MODELS_DIR = Path(env.text("VOICEAUTH_MODELS_DIR", str(STATE_DIR / "models"))).resolve()
VOICEAUTH_RUNS_DIR = Path(env.text("VOICEAUTH_RUNS_DIR", str(STATE_DIR / "training-runs"))).resolve()
# Where scoring processes share the voiceprints in the clear: memory, never a disk.
VOICEAUTH_GALLERY_DIR = Path(
    env.text("VOICEAUTH_GALLERY_DIR")
    or f"/dev/shm/voiceauth-{os.getuid()}-{hashlib.sha256(str(STATE_DIR).encode()).hexdigest()[:12]}"  # noqa: S108
)
# Manifests and recordings of batch enrollments, which are only read.
VOICEAUTH_BATCH_DIR = Path(env.text("VOICEAUTH_BATCH_DIR", str(STATE_DIR / "batches"))).resolve()

# enrollment.csv, trials.csv, audio/; optional: clips.parquet, noise/. A candidate must beat the active model on it.
_FROZEN_SET = env.text("VOICEAUTH_FROZEN_SET_DIR")
VOICEAUTH_FROZEN_SET_DIR = Path(_FROZEN_SET).resolve() if _FROZEN_SET else None

DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
FILE_UPLOAD_HANDLERS = ["voiceauth.platform.api.uploads.CappedMemoryUploadHandler"]

# --- people -----------------------------------------------------------------------------------
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = 0.5  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "voiceauth.platform.api.middleware.client_ip_of"  # the caller's, not the proxy's
AXES_RESET_ON_SUCCESS = True
AXES_VERBOSE = False  # no banner on every command
AXES_ENABLE_ADMIN = False  # its pages delete rows; attempts are in the audit trail
LOGIN_URL = "admin:login"
# Sign-in by OpenID Connect; off without an issuer.
VOICEAUTH_OIDC_ISSUER = env.text("VOICEAUTH_OIDC_ISSUER")  # like https://login.bank.example/realms/staff
VOICEAUTH_OIDC_CLIENT_ID = env.text("VOICEAUTH_OIDC_CLIENT_ID")
VOICEAUTH_OIDC_CLIENT_SECRET = env.text("VOICEAUTH_OIDC_CLIENT_SECRET")
VOICEAUTH_OIDC_SCOPE = env.text("VOICEAUTH_OIDC_SCOPE", "openid profile")
VOICEAUTH_OIDC_NAME_CLAIM = env.text("VOICEAUTH_OIDC_NAME_CLAIM", "preferred_username")
VOICEAUTH_OIDC_ROLES_CLAIM = env.text("VOICEAUTH_OIDC_ROLES_CLAIM", "groups")
# "voice-reviewers=reviewer,voice-admins=admin"
VOICEAUTH_OIDC_ROLES = env.mapping("VOICEAUTH_OIDC_ROLES", ("teller", "reviewer", "admin", "auditor"))
VOICEAUTH_LOCAL_PASSWORDS = env.boolean("VOICEAUTH_LOCAL_PASSWORDS", True)
if VOICEAUTH_OIDC_ISSUER:
    # The provider's answer is a request from another site; "Strict" would hide from it who began. Forms have tokens.
    SESSION_COOKIE_SAMESITE = "Lax"

# --- webhooks ---------------------------------------------------------------------------------
# Internal networks that webhooks may reach, also without TLS: "10.20.0.0/16,127.0.0.1/32". Public addresses need TLS.
VOICEAUTH_WEBHOOK_NETWORKS = env.networks("VOICEAUTH_WEBHOOK_NETWORKS")

# --- the API ----------------------------------------------------------------------------------
VOICEAUTH_TOKEN_LIFETIME_DAYS = env.integer("VOICEAUTH_TOKEN_LIFETIME_DAYS", 365, minimum=1, maximum=3650)
# Calls a minute: of each client by what it calls, and of each address without a valid token or with a sign-in.
VOICEAUTH_RATE_LIMITS = env.integers(
    "VOICEAUTH_RATE_LIMITS", {"calls": 3000, "writes": 600, "reads": 1200, "training": 60, "anonymous": 60}
)
# A request for a second person's approval, and an approval that waits to be used, end after so long.
VOICEAUTH_APPROVAL_HOURS = env.integer("VOICEAUTH_APPROVAL_HOURS", 24, minimum=1, maximum=720)
# Origins whose pages may call the API from a browser: "https://teller.bank.example"; none by default.
CORS_ALLOWED_ORIGINS = env.origins("VOICEAUTH_CORS_ORIGINS")
CORS_URLS_REGEX = r"^/api/"
CORS_ALLOW_METHODS = ["GET", "HEAD", "OPTIONS", "POST", "DELETE"]
CORS_ALLOW_HEADERS = ["accept", "authorization", "content-type", "idempotency-key", "x-request-id"]
CORS_EXPOSE_HEADERS = ["idempotent-replayed", "retry-after", "x-request-id"]
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["voiceauth.platform.api.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["voiceauth.platform.api.permissions.DenyAll"],
    "DEFAULT_THROTTLE_CLASSES": ["voiceauth.platform.api.throttling.ClientThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["voiceauth.platform.api.parsers.JSONParser"],
    "DEFAULT_PAGINATION_CLASS": "voiceauth.platform.api.pagination.Pages",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "voiceauth.platform.api.schema.ApiSchema",
    "EXCEPTION_HANDLER": "voiceauth.platform.api.exceptions.handle",
    "DEFAULT_METADATA_CLASS": "voiceauth.platform.api.metadata.AllowedMethods",
    "URL_FORMAT_OVERRIDE": None,
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "voiceauth",
    "VERSION": VERSION,
    "SERVERS": [{"url": "/", "description": "This installation"}],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "GET_LIB_DOC_EXCLUDES": "voiceauth.platform.api.schema.internal_classes",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "voiceauth.platform.api.schema.describe_enums",
    ],
    "DESCRIPTION": "Voice authentication for banks. Voice is never the sole factor: always offer the fallback.",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "CustomerState": "enrollment.models.Customer.State",
        "JobState": "voiceauth.platform.jobs.models.Job.State",
        "ModelState": "mltraining.models.ModelVersion.State",
        "ApprovalState": "voiceauth.platform.approvals.models.Approval.State",
        "CaseState": "voiceauth.screening.models.ReviewCase.State",
        "CaseKind": "voiceauth.screening.models.ReviewCase.Kind",
        "CaseResolution": "voiceauth.screening.models.ReviewCase.Resolution",
        "ConsentPurpose": "enrollment.models.Consent.Purpose",
        "DecisionKind": "voiceauth.verification.models.Decision.Kind",
        "DecisionResult": "voiceauth.verification.models.Decision.Result",
        "EnrolledCustomers": "enrollment.batches.models.BatchEnrollment.Existing",
        "EventOutcome": "voiceauth.platform.audit.models.AuditEvent.Outcome",
        "DatabaseStatus": ["ok", "read_only", "unavailable"],
        "PartStatus": ["ok", "unavailable"],
        "RiskLevel": ["HIGH_RISK", "LOW_RISK"],
        "Liveness": ["ok"],
    },
}

# --- the rest ---------------------------------------------------------------------------------
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
FORMAT_MODULE_PATH = "voiceauth.review.formats"
STATIC_URL = "static/"
STATIC_ROOT = STATE_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    # Sealed recordings: a folder that all machines share, or s3://bucket/prefix.
    "audio": env.storage("VOICEAUTH_AUDIO_STORAGE", STATE_DIR / "audio"),
    # Which erasures a restored backup must repeat: keep it apart from the database, which it outlives.
    "erasures": env.storage("VOICEAUTH_ERASURE_JOURNAL", STATE_DIR / "erasures"),
    "batches": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": VOICEAUTH_BATCH_DIR},
    },
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
# Registered models: the folders of VOICEAUTH_MODELS_DIR are copies of it then.
if _MODELS := env.bucket("VOICEAUTH_MODELS_STORAGE"):
    STORAGES["models"] = _MODELS
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
LOGGING = logs.configuration(
    level=env.text("VOICEAUTH_LOG_LEVEL", "INFO"),
    private=not DEBUG,
    as_json=env.boolean("VOICEAUTH_LOG_JSON", False),
)
