{{/* Where members are reached. Rendered from initialReplicas alone, so that scaling restarts nobody who runs. */}}

{{/* The address of the member `id`. Takes a dict of root and id. */}}
{{- define "tenantry.memberAddress" -}}
{{- $name := include "tenantry.controlPlane.fullname" .root }}
{{- printf "%s-%d.%s.%s:7401" $name (int .id) (include "tenantry.controlPlane.headless" .root) (include "tenantry.domain" .root) }}
{{- end }}

{{- define "tenantry.initialMembers" -}}
{{- $members := list }}
{{- range $id := untilStep 1 (add1 .Values.controlPlane.initialReplicas | int) 1 }}
{{- $members = append $members (printf "%d=%s" $id (include "tenantry.memberAddress" (dict "root" $ "id" $id))) }}
{{- end }}
{{- join "," $members }}
{{- end }}

{{- define "tenantry.controlPlaneService" -}}
{{- $port := int .Values.controlPlane.service.port }}
{{- printf "%s.%s:%d" (include "tenantry.controlPlane.fullname" .) (include "tenantry.domain" .) $port }}
{{- end }}

{{/* For nodes: the initial members that still run, each by name, and the Service, behind which is every ready member. */}}
{{- define "tenantry.controlPlaneAddresses" -}}
{{- $addresses := list }}
{{- range $id := untilStep (int .Values.controlPlane.firstMember) (add1 .Values.controlPlane.initialReplicas | int) 1 }}
{{- $addresses = append $addresses (include "tenantry.memberAddress" (dict "root" $ "id" $id)) }}
{{- end }}
{{- $addresses = append $addresses (include "tenantry.controlPlaneService" .) }}
{{- join "," $addresses }}
{{- end }}
