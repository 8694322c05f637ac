{{- /* Only functions of Go's own text/template are used, so that other programs can render the chart, as the tests do. */ -}}

{{- define "pod" }}
      automountServiceAccountToken: false
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        fsGroup: 10001
        fsGroupChangePolicy: OnRootMismatch
        seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "container" }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          env:
            - {name: VOICEAUTH_SECRET_KEY_FILE, value: /run/secrets/voiceauth/secret_key}
            - {name: VOICEAUTH_MASTER_KEY_FILE, value: /run/secrets/voiceauth/master_key}
            - {name: DATABASE_URL_FILE, value: /run/secrets/voiceauth/database_url}
            - {name: REDIS_URL_FILE, value: /run/secrets/voiceauth/redis_url}
            - name: VOICEAUTH_ALLOWED_HOSTS
              value: "{{ range $at, $host := .Values.hosts }}{{ if $at }},{{ end }}{{ $host }}{{ end }}"
            - {name: VOICEAUTH_TLS, value: "true"}
            - {name: VOICEAUTH_TRUSTED_PROXIES, value: "{{ .Values.trustedProxies }}"}
            - {name: VOICEAUTH_BIND, value: "0.0.0.0:8000"}
            - {name: VOICEAUTH_LOG_JSON, value: "true"}
            {{- range $name, $value := .Values.environment }}
            - name: {{ $name }}
              value: {{ printf "%q" $value }}
            {{- end }}
{{- end }}
