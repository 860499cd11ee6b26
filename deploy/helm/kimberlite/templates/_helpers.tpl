{{- define "kimberlite.name" -}}
{{- .Release.Name | trunc 30 | trimSuffix "-" -}}
{{- end }}

{{- define "kimberlite.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "kimberlite.labels" -}}
{{ include "kimberlite.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "kimberlite.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "kimberlite.host" -}}
$(POD_NAME).{{ include "kimberlite.name" . }}-peers.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end }}

{{/* One process: no privilege, no other file system to write to. */}}
{{- define "kimberlite.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* The environment of the server and of what prepares its directory. */}}
{{- define "kimberlite.environment" -}}
{{- $ := .root -}}
{{- $host := include "kimberlite.host" $ -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: KIMBERLITE_DATA_DIR
  value: /var/lib/kimberlite
- name: KIMBERLITE_DATA_MASTER_KEY
  value: {{ $.Values.masterKey.url | quote }}
- name: KIMBERLITE_PG_ADDR
  value: "0.0.0.0:{{ $.Values.ports.pg }}"
- name: KIMBERLITE_RPC_ADDR
  value: "0.0.0.0:{{ $.Values.ports.rpc }}"
- name: KIMBERLITE_PG_TLS_CERT
  value: /etc/kimberlite/tls/tls.crt
- name: KIMBERLITE_PG_TLS_KEY
  value: /etc/kimberlite/tls/tls.key
- name: KIMBERLITE_CLUSTER_LISTEN
  value: "0.0.0.0:{{ $.Values.ports.peer }}"
- name: KIMBERLITE_CLUSTER_ADVERTISE_PEER
  value: "{{ $.Values.advertiseHost | default $host }}:{{ $.Values.ports.peer }}"
- name: KIMBERLITE_CLUSTER_ADVERTISE_PG
  value: "{{ $.Values.clientHost | default $host }}:{{ $.Values.ports.pg }}"
- name: KIMBERLITE_CLUSTER_ADVERTISE_RPC
  value: "{{ $.Values.clientHost | default $host }}:{{ $.Values.ports.rpc }}"
- name: KIMBERLITE_CLUSTER_ZONE
  value: {{ get .pool "zone" | default "" | quote }}
{{- range $name, $value := $.Values.config }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "kimberlite.mounts" -}}
- name: data
  mountPath: /var/lib/kimberlite
- name: tls
  mountPath: /etc/kimberlite/tls
  readOnly: true
{{- if .Values.masterKey.secret }}
- name: master
  mountPath: /etc/kimberlite/master
  readOnly: true
{{- end }}
{{- end }}
