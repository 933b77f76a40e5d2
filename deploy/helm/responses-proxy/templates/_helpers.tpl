{{- define "responses-proxy.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- /* 52 of the 63 characters of a DNS label, for "-metrics" to fit behind them. */ -}}
{{- define "responses-proxy.fullname" -}}
{{- $name := include "responses-proxy.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "responses-proxy.selectorLabels" -}}
app.kubernetes.io/name: {{ include "responses-proxy.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "responses-proxy.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "responses-proxy.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "responses-proxy.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "responses-proxy.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "responses-proxy.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The Secret that the environment comes from; empty where there is none. */ -}}
{{- define "responses-proxy.secretName" -}}
{{- if .Values.secrets.existingSecret -}}
{{- .Values.secrets.existingSecret -}}
{{- else if or .Values.secrets.create .Values.secrets.externalSecret.enabled -}}
{{- include "responses-proxy.fullname" . -}}
{{- end -}}
{{- end -}}

{{- /* The gateway's redis.url; empty where it starts an embedded store. */ -}}
{{- define "responses-proxy.redisUrl" -}}
{{- dig "redis" "url" "" .Values.config -}}
{{- end -}}

{{- /* Non-empty where more than one pod may run at a time. */ -}}
{{- define "responses-proxy.replicated" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1) -}}true{{- end -}}
{{- end -}}

{{- /* Seconds from the pod's deletion until it is killed: a preStop sleep, the drain's two phases, and a margin. */ -}}
{{- define "responses-proxy.gracePeriod" -}}
{{- $sleep := dig "preStop" "sleep" "seconds" 0 .Values.lifecycle -}}
{{- with .Values.config.server -}}
{{- addf $sleep .pre_stop .drain_timeout $.Values.shutdownMargin | ceil | int64 -}}
{{- end -}}
{{- end -}}

{{- define "responses-proxy.monitorEndpoint" -}}
port: metrics
path: /metrics
interval: {{ .interval }}
scrapeTimeout: {{ .scrapeTimeout }}
{{- with .relabelings }}
relabelings: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
