{{/* Options as a TOML file: scalars, and lists of them. */}}

{{- define "tenantry.toml" -}}
{{- range $key := keys . | sortAlpha }}
{{ $key }} = {{ include "tenantry.tomlValue" (index $ $key) }}
{{- end }}
{{- end }}

{{/* Numbers come as floats from files and as integers from --set; options have whole numbers only. */}}
{{- define "tenantry.tomlValue" -}}
{{- if kindIs "slice" . }}
{{- $items := list }}
{{- range . }}
{{- $items = append $items (include "tenantry.tomlValue" .) }}
{{- end }}
{{- printf "[%s]" (join ", " $items) }}
{{- else if kindIs "string" . }}
{{- toJson . }}
{{- else if kindIs "bool" . }}
{{- . }}
{{- else }}
{{- printf "%d" (int64 .) }}
{{- end }}
{{- end }}
