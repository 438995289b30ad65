{{/* Peers of NetworkPolicies. */}}

{{/* Pods of one component of this release. Takes a dict of root and component. */}}
{{- define "tenantry.peer" -}}
podSelector:
  matchLabels:
    {{- include "tenantry.selectorLabels" . | nindent 4 }}
{{- end }}

{{/* Names are resolved wherever the cluster does that: also at an address of the machine, and at OpenShift's port. */}}
{{- define "tenantry.dnsEgress" -}}
ports:
  - port: 53
    protocol: UDP
  - port: 53
    protocol: TCP
  - port: 5353
    protocol: UDP
  - port: 5353
    protocol: TCP
{{- end }}
