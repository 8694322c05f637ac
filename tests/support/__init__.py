"""What tests are made of: everything that more than one test file needs has its one place here.

| module | what it gives |
| --- | --- |
| ``servers`` | the PostgreSQL and the Redis of a test run |
| ``workers`` | a real Celery worker as a process of its own |
| ``web`` | the real web server as a process of its own |
| ``phone`` | a telephone platform that streams calls |
| ``waiting`` | ``until`` something is true, several works ``at_once`` |
| ``clients`` | API clients of every role, uploads, the error code of an answer |
| ``people`` | dashboard users of every role, signed in |
| ``browser`` | a headless Chromium, signed in, and what it complains about |
| ``customers`` | customers with consent, recordings and voiceprints |
| ``audio`` | the synthetic voice, tones, and every encoding that the service accepts |
| ``model`` | the tiny model: exported, registered, in service |
| ``evidence`` | the calibration of a model, on enough trials or too few |
| ``stand_in`` | a scoring worker within the test's process, whose recordings are JSON |
| ``trail`` | the events of the audit trail |
| ``rows`` | decisions, call recordings and training runs as the services leave them |
| ``fraudsters`` | watchlisted voices and calls in them |
| ``journal`` | the journal of erasures of one test |
| ``batches`` | a bank's storage and manifests in it |
| ``training_data`` | clips to train on, trials to evaluate on |
| ``scores`` | trials of made-up scores |
| ``edge`` | a small API, to test what every endpoint does |
| ``echo_tasks`` | small calls, to test those between web process and worker |
| ``transit`` | a key-management service |
| ``listener`` | a receiver of webhooks |
| ``every_endpoint`` | a request for each operation of the OpenAPI document |

``tests/conftest.py`` offers the fixtures among them to every test.
"""
