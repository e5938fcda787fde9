{{- define "trailwarden.name" -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{- define "trailwarden.serviceAccount" -}}
{{- default (include "trailwarden.name" .) .Values.serviceAccount.name -}}
{{- end }}

{{- define "trailwarden.selector" -}}
app.kubernetes.io/name: trailwarden
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "trailwarden.labels" -}}
{{ include "trailwarden.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "trailwarden.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}

{{/* The configuration; what the pod depends on is not left to the values. */}}
{{- define "trailwarden.config" -}}
{{- $c := deepCopy .Values.config -}}
{{- $http := dict "http" (dict "listen" "127.0.0.1:8686") -}}
{{- toYaml (mergeOverwrite $c $http (dict "state_dir" "/var/lib/trailwarden/state")) -}}
{{- end }}

{{- define "trailwarden.check" -}}
{{- if and (gt (int .Values.replicas) 1) (not (dig "nats" "url" "" .Values.config)) -}}
{{- fail "replicas above 1 need config.nats.url: the embedded store belongs to one process" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.enabled) -}}
{{- fail "metrics.serviceMonitor needs metrics.enabled: without the proxy nothing can be scraped" -}}
{{- end -}}
{{- if .Values.consolePort.enabled -}}
{{- $listen := dig "console" "listen" "" .Values.config -}}
{{- if or (not (dig "console" "enabled" false .Values.config)) (not (hasSuffix (printf ":%d" (int .Values.consolePort.port)) $listen)) (hasPrefix "127." $listen) (hasPrefix "localhost" $listen) -}}
{{- fail (printf "consolePort needs config.console: {enabled: true, listen: 0.0.0.0:%d} and its tls or behind_proxy" (int .Values.consolePort.port)) -}}
{{- end -}}
{{- if not .Values.consolePort.from -}}
{{- fail "consolePort.from is empty: name who may reach the console" -}}
{{- end -}}
{{- end -}}
{{- if and (contains "${file:secrets/" (toYaml .Values.config)) (not .Values.existingSecret) -}}
{{- fail "config refers to ${file:secrets/…}: name the Secret that holds it in existingSecret" -}}
{{- end -}}
{{- end }}

{{/* No capability, no root, no writable root file system, no credentials of Kubernetes. */}}
{{- define "trailwarden.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "trailwarden.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "trailwarden.configVolumes" -}}
- name: config
  configMap: {name: {{ include "trailwarden.name" . }}}
{{- with .Values.existingSecret }}
- name: secrets
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- end }}

{{- define "trailwarden.configMounts" -}}
- {name: config, mountPath: /etc/trailwarden/trailwarden.yaml, subPath: trailwarden.yaml, readOnly: true}
{{- if .Values.existingSecret }}
- {name: secrets, mountPath: /etc/trailwarden/secrets, readOnly: true}
{{- end }}
{{- end }}
