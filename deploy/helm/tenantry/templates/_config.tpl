{{/* Options as a TOML file: scalars only, as the programs have no others. */}}

{{- define "tenantry.toml" -}}
{{- range $key := keys . | sortAlpha }}
{{- $value := index $ $key }}
{{- if kindIs "string" $value }}
{{ $key }} = {{ $value | toJson }}
{{- else if kindIs "bool" $value }}
{{ $key }} = {{ $value }}
{{- else }}
{{ $key }} = {{ printf "%d" (int64 $value) }}
{{- end }}
{{- end }}
{{- end }}
