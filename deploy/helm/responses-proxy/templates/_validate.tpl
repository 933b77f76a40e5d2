{{- /* What the schema cannot say: settings that do not go together. Every mistake is told at once, no value is repeated. */ -}}
{{- define "responses-proxy.validate" -}}
{{- $mistakes := concat
      (include "responses-proxy.configMistakes" . | fromJsonArray)
      (include "responses-proxy.credentialMistakes" . | fromJsonArray)
      (include "responses-proxy.choiceMistakes" . | fromJsonArray) -}}
{{- if $mistakes -}}
{{- fail (printf "the values have to be corrected\n%s" (join "\n" $mistakes)) -}}
{{- end -}}
{{- end -}}

{{- define "responses-proxy.configMistakes" -}}
{{- $found := list -}}
{{- if not .Values.config.providers -}}
{{- $found = append $found "config.providers: name at least one, such as {openai: {kind: openai, api_key: \"${OPENAI_API_KEY}\"}}" -}}
{{- end -}}
{{- if not .Values.config.keys -}}
{{- $found = append $found "config.keys: name at least one, such as [{name: alice, tenant: team-a, key: \"${ALICE_KEY}\"}]" -}}
{{- end -}}
{{- if and (include "responses-proxy.replicated" .) (not (include "responses-proxy.redisUrl" .)) -}}
{{- $found = append $found "config.redis.url: more than one replica needs a Redis that all share; the embedded store is one pod's own" -}}
{{- end -}}
{{- range $name := list "host" "admin_host" -}}
{{- if or (hasPrefix "127." (get $.Values.config.server $name)) (has (get $.Values.config.server $name) (list "localhost" "::1")) -}}
{{- $found = append $found (printf "config.server.%s: nothing outside the pod reaches a loopback address: use 0.0.0.0 or \"::\"" $name) -}}
{{- end -}}
{{- end -}}
{{- if eq (int .Values.config.server.port) (int .Values.config.server.admin_port) -}}
{{- $found = append $found "config.server.admin_port: is config.server.port already" -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- /* Literal credentials would be readable in the ConfigMap. */ -}}
{{- define "responses-proxy.credentialMistakes" -}}
{{- $found := list -}}
{{- $where := list -}}
{{- if regexMatch "://[^/@]*:[^/@$]+@" (include "responses-proxy.redisUrl" .) -}}
{{- $where = append $where "config.redis.url" -}}
{{- end -}}
{{- range $index, $key := .Values.config.keys -}}
{{- if and $key.key (not (contains "${" (toString $key.key))) -}}
{{- $where = append $where (printf "config.keys[%d].key" $index) -}}
{{- end -}}
{{- end -}}
{{- range $name, $provider := .Values.config.providers -}}
{{- if and $provider.api_key (not (contains "${" (toString $provider.api_key))) -}}
{{- $where = append $where (printf "config.providers.%s.api_key" $name) -}}
{{- end -}}
{{- range $header, $value := $provider.headers -}}
{{- if and (regexMatch "(?i)auth|cookie|key|secret|token" $header) (not (contains "${" (toString $value))) -}}
{{- $where = append $where (printf "config.providers.%s.headers.%s" $name $header) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $where -}}
{{- $found = append $found (printf "%s: holds a credential, which every reader of the ConfigMap would see: write ${NAME}, and put it in a Secret" .) -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "responses-proxy.choiceMistakes" -}}
{{- $found := list -}}
{{- with .Values.secrets -}}
{{- if gt (len (compact (list .existingSecret (ternary "create" "" .create) (ternary "external" "" .externalSecret.enabled)))) 1 -}}
{{- $found = append $found "secrets: choose one of existingSecret, create and externalSecret" -}}
{{- end -}}
{{- end -}}
{{- if and (contains "${" (toJson .Values.config)) (not (include "responses-proxy.secretName" .)) (not .Values.extraEnv) (not .Values.extraEnvFrom) (not .Values.extraVolumes) -}}
{{- $found = append $found "secrets: config refers to ${…}, but no Secret, extraEnv, extraEnvFrom or extraVolumes provides it" -}}
{{- end -}}
{{- if and .Values.secrets.mountPath (not (include "responses-proxy.secretName" .)) -}}
{{- $found = append $found "secrets.mountPath: there is no Secret to have there: choose existingSecret, create or externalSecret" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled -}}
{{- $found = append $found "metrics: serviceMonitor and podMonitor would scrape every pod twice: enable one" -}}
{{- end -}}
{{- with .Values.podDisruptionBudget -}}
{{- if and (ne (toString .maxUnavailable) "") (ne (toString .minAvailable) "") -}}
{{- $found = append $found "podDisruptionBudget: set maxUnavailable or minAvailable, the other to \"\"" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- $found = append $found "autoscaling.minReplicas: is above maxReplicas" -}}
{{- end -}}
{{- if and .Values.persistence.enabled (include "responses-proxy.redisUrl" .) -}}
{{- $found = append $found "persistence: is of the embedded store, and config.redis.url replaces that" -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}
