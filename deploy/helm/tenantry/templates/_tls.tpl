{{/* Certificates as files. Nothing secret is in an environment: variables only name the files. */}}

{{/* The Secret of a role: controlPlane, node or operator. Takes a dict of root and role. */}}
{{- define "tenantry.tlsSecret" -}}
{{- if eq .root.Values.tls.mode "existingSecret" }}
{{- $value := printf "tls.existingSecret.%s" .role }}
{{- required (printf "%s must name a Secret when tls.mode is existingSecret" $value) (index .root.Values.tls.existingSecret .role) }}
{{- else }}
{{- printf "%s-%s-tls" (include "tenantry.fullname" .root) (kebabcase .role) }}
{{- end }}
{{- end }}

{{- define "tenantry.tlsVolume" -}}
{{- $keys := dict "ca" "ca.crt" "cert" "tls.crt" "key" "tls.key" }}
{{- if eq .root.Values.tls.mode "existingSecret" }}
{{- $keys = .root.Values.tls.existingSecret.keys }}
{{- end -}}
name: tls
secret:
  secretName: {{ include "tenantry.tlsSecret" . }}
  # 0440: the group is fsGroup's.
  defaultMode: 288
  items:
    - key: {{ $keys.ca }}
      path: ca.crt
    - key: {{ $keys.cert }}
      path: tls.crt
    - key: {{ $keys.key }}
      path: tls.key
{{- end }}

{{- define "tenantry.tlsMount" -}}
name: tls
mountPath: /etc/tenantry/tls
readOnly: true
{{- end }}

{{- define "tenantry.tlsEnv" -}}
- name: TENANTRY_TLS_CA
  value: /etc/tenantry/tls/ca.crt
- name: TENANTRY_TLS_CERT
  value: /etc/tenantry/tls/tls.crt
- name: TENANTRY_TLS_KEY
  value: /etc/tenantry/tls/tls.key
{{- end }}
