#!/usr/bin/env bash
# Enroll a customer and verify a call, with curl and jq.
#
#     export VOICEAUTH_URL=http://127.0.0.1:8000 TELLER_TOKEN=… IVR_TOKEN=…
#     ./integrate.sh enroll C-1001 one.wav two.wav three.wav
#     ./integrate.sh verify C-1001 call.wav
#     ./integrate.sh verify C-1001 call.ulaw mulaw        # samples without a header
set -euo pipefail

API="${VOICEAUTH_URL:-http://127.0.0.1:8000}/api/v1"
ANSWER=$(mktemp)
trap 'rm -f "$ANSWER"' EXIT

# post TOKEN PATH CURL-OPTIONS…: the answer is in $ANSWER, its status in $STATUS (000: no connection).
# curl repeats a 503 and a 429 after Retry-After, under the same key, so that nothing happens twice.
post() {
  STATUS=$(curl -sS --retry 3 --retry-max-time 5 -o "$ANSWER" -w '%{http_code}' -H "Authorization: Bearer $1" \
    -H "Idempotency-Key: $(uuidgen 2>/dev/null || cat /proc/sys/kernel/random/uuid)" "$API$2" "${@:3}") \
    || echo '{"error": {"code": "unreachable", "message": "There is no connection."}}' >"$ANSWER"
}

field() { jq -r "$1" "$ANSWER" 2>/dev/null || true; }

refuse() {
  echo "$STATUS $(field '.error.code + ": " + .error.message')" >&2
  exit 1
}

# json TOKEN PATH CONTENT CODE: post, and go on where the answer is CODE.
json() {
  post "$1" "$2" -H "Content-Type: application/json" -d "$3"
  [[ $STATUS == 2* || $(field .error.code) == "$4" ]] || refuse
}

enroll() {
  local customer=$1 recording
  json "$TELLER_TOKEN" /customers "{\"customer_id\": \"$customer\"}" customer_exists
  json "$TELLER_TOKEN" "/customers/$customer/consent" \
    '{"purpose": "voice_authentication", "text_version": "2026-11", "origin": "branch"}' consent_exists
  for recording in "${@:2}"; do
    post "$TELLER_TOKEN" "/customers/$customer/enrollments" -F "audio=@$recording"
    case $STATUS in
      201) echo "$recording: $(field '.state'), $(field '.remaining_seconds') s of speech are missing$(
        field 'if .held_for == [] then "" else ", held for " + (.held_for | join(", ")) end')" ;;
      422) echo "$recording: record it again: $(field '.error.code + ": " + .error.message')" ;;
      *) refuse ;;
    esac
  done
}

verify() {
  local next
  post "$IVR_TOKEN" /verify -F "customer_id=$1" -F "audio=@$2" -F "format=${3:-}"
  case $STATUS in
    200) ;;
    503 | 000)
      echo "$(field .error.code): nothing was decided. Next: another factor"
      return
      ;;
    *) refuse ;;
  esac
  case $(field .decision) in
    ACCEPT) next=$(field 'if .further_factor_required then "a further factor" else "go on" end') ;;
    INCONCLUSIVE | NOT_ENOUGH_SPEECH) next="ask the caller to speak again" ;;
    *) next=$(field .fallback) ;; # REJECT, or there is no voiceprint: SPEAKER_NOT_ENROLLED, …_OPTED_OUT, …_EXPIRED
  esac
  echo "$(field '[.decision] + .reasons | join(" ")'). Next: $next"
  field 'select(.fraud_risk.level == "HIGH_RISK") | "High risk of fraud: " + ([.fraud_risk.reasons[].code] | join(" "))'
  echo "Decision $(field .decision_id)" # keep it: a reviewer finds the call by it
}

"$@"
