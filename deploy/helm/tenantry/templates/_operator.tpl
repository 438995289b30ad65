{{/* A pod that calls the control plane as an operator: helm test and the backup. */}}

{{/* Takes a dict of root, args, resources, and perhaps mounts and podName. */}}
{{- define "tenantry.operatorContainer" -}}
name: tenantctl
image: {{ include "tenantry.image" (dict "root" .root "values" .root.Values.controlPlane) | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command:
  - /usr/local/bin/tenantctl
args:
  {{- toYaml .args | nindent 2 }}
env:
  {{- if .podName }}
  - name: POD_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  {{- end }}
  - name: TENANTRY_ENDPOINT
    value: {{ include "tenantry.controlPlaneService" .root | quote }}
  {{- include "tenantry.tlsEnv" .root | nindent 2 }}
securityContext:
  {{- toYaml .root.Values.containerSecurityContext | nindent 2 }}
resources:
  {{- toYaml .resources | nindent 2 }}
volumeMounts:
  - {{- include "tenantry.tlsMount" .root | nindent 4 }}
  {{- with .mounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
