{{/* The name of all objects: the release's, with the chart's unless it is in it. */}}
{{- define "mcp-server.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 57 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 57 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* What selects the pods; a Deployment's can never be changed. */}}
{{- define "mcp-server.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mcp-server.labels" -}}
{{ include "mcp-server.selector" . }}
app.kubernetes.io/part-of: mcp
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Name, namespace and labels of an object; `suffix` is for a second one of its kind. */}}
{{- define "mcp-server.metadata" -}}
name: {{ include "mcp-server.name" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "mcp-server.labels" . | nindent 2 }}
{{- end }}

{{- define "mcp-server.serviceAccount" -}}
{{- default (.Values.serviceAccount.create | ternary (include "mcp-server.name" .) "default") .Values.serviceAccount.name }}
{{- end }}

{{- define "mcp-server.image" -}}
{{- $image := printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- if .Values.image.digest }}{{ $image = printf "%s@%s" .Values.image.repository .Values.image.digest }}{{ end }}
{{- $image }}
{{- end }}

{{/* A setting's value as text: YAML's numbers are floats here, and 67108864 would become 6.7108864e+07. */}}
{{- define "mcp-server.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{/* A number of the settings, of (dict "root" $ "name" NAME "default" NUMBER). */}}
{{- define "mcp-server.number" -}}
{{- get .root.Values.settings .name | default .default | toString | float64 | ceil | int64 }}
{{- end }}

{{/* The public host: what MCP_RESOURCE names. */}}
{{- define "mcp-server.host" -}}
{{- $url := urlParse (required "settings.MCP_RESOURCE: the public URL of the endpoint is needed" .Values.settings.MCP_RESOURCE) }}
{{- $url.hostname }}
{{- end }}

{{/*
The memory a pod may come to hold, in MiB, in steps of 64; docs/kubernetes.md says how it was measured. 80 for the
server's parent and its admin port; for each worker 120 (its code, verified tokens, lines of audit and log that wait),
40 KiB for a stream, and 14 times the bytes in flight: what a body of many small values becomes.
*/}}
{{- define "mcp-server.memory" -}}
{{- $workers := include "mcp-server.number" (dict "root" . "name" "MCP_WORKERS" "default" 1) | int64 }}
{{- $streams := include "mcp-server.number" (dict "root" . "name" "MCP_MAX_STREAMS" "default" 10000) | int64 }}
{{- $flight := include "mcp-server.number" (dict "root" . "name" "MCP_MAX_BYTES_IN_FLIGHT" "default" 67108864) | int64 }}
{{- $kib := add (mul 80 1024) (mul $workers (add (mul 120 1024) (mul 40 $streams) (mul 14 (div $flight 1024)))) }}
{{- $step := mul 64 1024 }}
{{- printf "%dMi" (mul 64 (div (add $kib $step -1) $step)) }}
{{- end }}

{{/* The pause before the signal, the drain, the calls that end, the worker that closes, and some more. */}}
{{- define "mcp-server.grace" -}}
{{- $drain := include "mcp-server.number" (dict "root" . "name" "MCP_DRAIN_S" "default" 5) | int64 }}
{{- $stop := include "mcp-server.number" (dict "root" . "name" "MCP_STOP_S" "default" 25) | int64 }}
{{- add 5 $drain $stop 9 6 }}
{{- end }}
