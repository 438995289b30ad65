{{/* Combinations of values that cannot work, refused in words before anything is installed. */}}

{{/* Fails when an option that the chart sets is set again. Takes a dict of component, values and owned: options with reasons. */}}
{{- define "tenantry.checkOptions" -}}
{{- range $option, $reason := .owned }}
{{- $key := $option | replace "-" "_" }}
{{- $variable := printf "TENANTRY_%s" (upper $key) }}
{{- if hasKey $.values.config $key }}
{{- fail (printf "%s.config.%s: %s" $.component $key $reason) }}
{{- end }}
{{- range $.values.extraEnv }}
{{- if eq .name $variable }}
{{- fail (printf "%s.extraEnv %s: %s" $.component $variable $reason) }}
{{- end }}
{{- end }}
{{- range $.values.extraArgs }}
{{- if or (eq . (printf "--%s" $option)) (hasPrefix (printf "--%s=" $option) .) }}
{{- fail (printf "%s.extraArgs %s: %s" $.component . $reason) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Options of both daemons that the chart sets. */}}
{{- define "tenantry.commonOptions" -}}
data-dir config log-format tls-ca tls-cert tls-key insecure-dev
{{- end }}

{{- define "tenantry.controlPlane.check" -}}
{{- $initial := int .Values.controlPlane.initialReplicas }}
{{- $first := int .Values.controlPlane.firstMember }}
{{- $last := add $first .Values.controlPlane.replicas -1 | int }}
{{- $token := .Values.controlPlane.joinToken }}
{{- if and (gt $last $initial) (not $token) }}
{{- $reason := "is not among the initial ones, of which there are %d, so it needs the cluster's join token" }}
{{- fail (printf (print "controlPlane.joinToken: member %d " $reason ": see tenantctl cluster member list") $last $initial) }}
{{- end }}
{{- if and (eq $first 1) (lt $last $initial) (not $token) }}
{{- $remedy := "To run fewer later, remove members first and give controlPlane.joinToken" }}
{{- fail (printf "controlPlane.replicas: the first start needs all %d initial members. %s" $initial $remedy) }}
{{- end }}
{{- $owned := dict }}
{{- range concat (list "member-id" "initial-members" "listen" "ops-listen") (include "tenantry.commonOptions" . | splitList " ") }}
{{- $_ := set $owned . "the chart sets this option" }}
{{- end }}
{{- $_ := set $owned "join" "set controlPlane.joinToken instead" }}
{{- include "tenantry.checkOptions" (dict "component" "controlPlane" "values" .Values.controlPlane "owned" $owned) }}
{{- end }}

{{- define "tenantry.node.check" -}}
{{- if .Values.node.zoneFromLabel }}
{{- if .Values.node.zone }}
{{- fail "node.zoneFromLabel: node.zone is given, too" }}
{{- end }}
{{- if semverCompare "<1.35-0" .Capabilities.KubeVersion.Version }}
{{- fail "node.zoneFromLabel: pods have their machine's zone as a label from Kubernetes 1.35 on" }}
{{- end }}
{{- end }}
{{- $owned := dict }}
{{- $addresses := list "control-plane" "listen" "peer-listen" "ops-listen" "advertise-data" "advertise-peer" "advertise-ops" }}
{{- range concat $addresses (list "node-id") (include "tenantry.commonOptions" . | splitList " ") }}
{{- $_ := set $owned . "the chart sets this option" }}
{{- end }}
{{- $_ := set $owned "host-suffix" "set hostSuffix instead" }}
{{- $_ := set $owned "zone" "set node.zone instead" }}
{{- $_ := set $owned "stop-notice-ms" "set node.stopNoticeMs instead, the time to end is computed from it" }}
{{- $_ := set $owned "drain-ms" "set node.drainMs instead, the time to end is computed from it" }}
{{- include "tenantry.checkOptions" (dict "component" "node" "values" .Values.node "owned" $owned) }}
{{- end }}

{{/* A preStop sleep takes its time from the same grace period. */}}
{{- define "tenantry.preStopSeconds" -}}
{{- dig "preStop" "sleep" "seconds" 0 . | int }}
{{- end }}

{{/* A member hands leadership over and ends within 20 s; 5 s more are for the runtime. */}}
{{- define "tenantry.controlPlane.gracePeriod" -}}
{{- $sleep := include "tenantry.preStopSeconds" .Values.controlPlane.lifecycle | int }}
{{- $least := add 25 $sleep | int }}
{{- $given := .Values.controlPlane.terminationGracePeriodSeconds }}
{{- if kindIs "invalid" $given }}
{{- add 30 $sleep }}
{{- else if lt (int $given) $least }}
{{- fail (printf "controlPlane.terminationGracePeriodSeconds: %d s are too short, a member needs %d s" (int $given) $least) }}
{{- else }}
{{- int $given }}
{{- end }}
{{- end }}

{{/* Stop notice, drain, 5 s for its tasks, 10 s to close databases and for the runtime. */}}
{{- define "tenantry.node.gracePeriod" -}}
{{- $sleep := include "tenantry.preStopSeconds" .Values.node.lifecycle | int }}
{{- $milliseconds := add .Values.node.stopNoticeMs .Values.node.drainMs 999 }}
{{- $least := add (div $milliseconds 1000) 15 $sleep | int }}
{{- $given := .Values.node.terminationGracePeriodSeconds }}
{{- if kindIs "invalid" $given }}
{{- $least }}
{{- else if lt (int $given) $least }}
{{- $reason := "stopNoticeMs + drainMs + 15 s to close, and a preStop sleep if any, come to" }}
{{- fail (printf "node.terminationGracePeriodSeconds: %d s are too short: %s %d s" (int $given) $reason $least) }}
{{- else }}
{{- int $given }}
{{- end }}
{{- end }}
