{{/* Names and labels. */}}

{{- define "tenantry.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* At most 30 characters: a StatefulSet's pods carry its name and a hash in a label of 63. */}}
{{- define "tenantry.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 30 | trimSuffix "-" }}
{{- else }}
{{- $name := include "tenantry.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 30 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 30 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* What selectors use. Never changes in the life of a release. Takes a dict of root and component. */}}
{{- define "tenantry.selectorLabels" -}}
app.kubernetes.io/name: {{ include "tenantry.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "tenantry.labels" -}}
{{ include "tenantry.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tenantry
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Of pods: without versions, so that a new version of the chart alone restarts nobody. Takes the component's values, too. */}}
{{- define "tenantry.podLabels" -}}
{{ include "tenantry.selectorLabels" . }}
app.kubernetes.io/part-of: tenantry
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- with .values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The part of a name that tells the components apart. */}}
{{- define "tenantry.controlPlane.fullname" -}}
{{ include "tenantry.fullname" . }}-control-plane
{{- end }}

{{- define "tenantry.node.fullname" -}}
{{ include "tenantry.fullname" . }}-node
{{- end }}

{{- define "tenantry.controlPlane.headless" -}}
{{ include "tenantry.controlPlane.fullname" . }}-headless
{{- end }}

{{- define "tenantry.node.headless" -}}
{{ include "tenantry.node.fullname" . }}-headless
{{- end }}

{{- define "tenantry.controlPlane.serviceAccount" -}}
{{- if .Values.controlPlane.serviceAccount.create }}
{{- .Values.controlPlane.serviceAccount.name | default (include "tenantry.controlPlane.fullname" .) }}
{{- else }}
{{- .Values.controlPlane.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- define "tenantry.node.serviceAccount" -}}
{{- if .Values.node.serviceAccount.create }}
{{- .Values.node.serviceAccount.name | default (include "tenantry.node.fullname" .) }}
{{- else }}
{{- .Values.node.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{/* The DNS domain of this namespace's Services. */}}
{{- define "tenantry.domain" -}}
{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end }}
