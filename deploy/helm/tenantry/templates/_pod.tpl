{{/* What every pod of the chart has alike: no rights, no service links, an unprivileged user. */}}

{{- define "tenantry.pod" -}}
automountServiceAccountToken: false
# Links to Services would come as TENANTRY_… variables, which the programs refuse as unknown options.
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where a component's pods go. Takes a dict of root, component and values. */}}
{{- define "tenantry.scheduling" -}}
{{- $selector := include "tenantry.selectorLabels" . }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- else }}
{{- if eq .values.podAntiAffinity "hard" }}
affinity:
  podAntiAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- $selector | nindent 12 }}
{{- else if eq .values.podAntiAffinity "soft" }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- $selector | nindent 14 }}
{{- end }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- else }}
{{- if ne .values.zoneSpread "none" }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: {{ .values.zoneSpread }}
    labelSelector:
      matchLabels:
        {{- $selector | nindent 8 }}
{{- end }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* The kubelet cannot show a certificate, so it asks the plain ops port. Takes the component's values. */}}
{{- define "tenantry.probes" -}}
startupProbe:
  httpGet:
    path: /livez
    port: ops
  {{- toYaml .startupProbe | nindent 2 }}
livenessProbe:
  httpGet:
    path: /livez
    port: ops
  {{- toYaml .livenessProbe | nindent 2 }}
readinessProbe:
  httpGet:
    path: /readyz
    port: ops
  {{- toYaml .readinessProbe | nindent 2 }}
{{- end }}

{{/* The claims of a component. Nothing here may change in the life of a release. Takes a dict of root, component and values. */}}
{{- define "tenantry.volumeClaims" -}}
persistentVolumeClaimRetentionPolicy:
  {{- toYaml .values.persistence.retentionPolicy | nindent 2 }}
volumeClaimTemplates:
  - metadata:
      name: data
      labels:
        {{- include "tenantry.selectorLabels" . | nindent 8 }}
      {{- with .values.persistence.annotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      accessModes:
        {{- toYaml .values.persistence.accessModes | nindent 8 }}
      {{- with .values.persistence.storageClass }}
      storageClassName: {{ . | quote }}
      {{- end }}
      resources:
        requests:
          storage: {{ .values.persistence.size | quote }}
{{- end }}
